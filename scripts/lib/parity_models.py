"""Small random models of every family, saved as transformers saves them, and one real model."""
import json
import os

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCAB = 257
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64)
YARN_ROPE = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128)


def shape(heads, kv_heads, hidden=72, ffn=100, layers=3, **more):
    return dict(num_attention_heads=heads, num_key_value_heads=kv_heads, hidden_size=hidden, intermediate_size=ffn,
                num_hidden_layers=layers, vocab_size=VOCAB, max_position_embeddings=512, bos_token_id=None,
                eos_token_id=None, pad_token_id=None, **more)


# name: (configuration class, its arguments, storage type, bytes of a shard, old spelling of the rotary settings)
CASES = {
    "llama, 9/9 heads, untied": ("LlamaConfig", shape(9, 9, tie_word_embeddings=False), "F32", "100KB", False),
    "llama, rope llama3, 6/2 heads of width 16, tied": (
        "LlamaConfig", shape(6, 2, head_dim=16, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True), "BF16", "60KB", True),
    "llama, rope linear, 8/1 heads": (
        "LlamaConfig", shape(8, 1, hidden=64, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0),
                             tie_word_embeddings=False), "F32", "10GB", True),
    "llama, rope yarn, 6/2 heads of width 16": (
        "LlamaConfig", shape(6, 2, head_dim=16, rope_parameters=YARN_ROPE, tie_word_embeddings=False), "F32", "100KB", False),
    "llama, head width 16 of hidden 72": (
        "LlamaConfig", shape(6, 3, head_dim=16, tie_word_embeddings=True), "F32", "10GB", False),
    "mistral, 6/2 heads of width 16, untied": (
        "MistralConfig", shape(6, 2, sliding_window=None, head_dim=16, tie_word_embeddings=False), "BF16", "100KB", True),
    "qwen2, bias, 8/1 heads, tied": (
        "Qwen2Config", shape(8, 1, hidden=64, tie_word_embeddings=True, use_sliding_window=False), "BF16", "60KB", False),
    "qwen2, bias, 9/3 heads, untied": (
        "Qwen2Config", shape(9, 3, tie_word_embeddings=False, use_sliding_window=False), "F32", "10GB", True),
    "qwen3, QK norm, head width 16, 6/2 heads": (
        "Qwen3Config", shape(6, 2, head_dim=16, tie_word_embeddings=True, use_sliding_window=False), "F32", "100KB", False),
    "SmolLM2-like, 9/3 heads, tied": (
        "LlamaConfig", shape(9, 3, layers=6, rope_parameters=dict(rope_type="default", rope_theta=100000.0),
                             tie_word_embeddings=True), "BF16", "10GB", True),
    "TinyLlama-like, 8/1 heads, untied": (
        "LlamaConfig", shape(8, 1, hidden=128, ffn=344, tie_word_embeddings=False), "BF16", "200KB", False),
}
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def randomise(model, seed):
    """Larger weights than training begins with, so that softmax and SwiGLU are not near-linear; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(1 + 0.2 * noise if name.endswith("norm.weight") else
                    0.3 * noise if p.dim() == 1 else 1.2 * noise * p.shape[-1]**-0.5)


def byte_tokenizer():
    """A tokenizer.json of the 256 bytes and one special token, split as GPT-2 does: no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # as GPT-2 splits
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def old_spelling(directory):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling instead of rope_parameters."""
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    with open(path, "w") as file:
        json.dump(config, file, indent=2)


def save_case(name, directory, seed):
    """Writes the model and returns it as loaded again from there, fp32."""
    config_class, settings, storage, shard, old = CASES[name]
    config = getattr(transformers, config_class)(**settings)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    model.to(DTYPES[storage]).save_pretrained(directory, max_shard_size=shard)
    byte_tokenizer().save_pretrained(directory)
    if old:
        old_spelling(directory)
    return load(directory)


def load(path, gguf=None):
    """A transformers model in fp32; `gguf` names a file inside the directory `path`."""
    more = dict(gguf_file=gguf) if gguf else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", **more).eval()
    # With a padding token transformers gives that row of the embedding no gradient; SmolLM2 pads with <|im_end|>, which
    # occurs in every conversation.
    model.get_input_embeddings().padding_idx = None
    return model


def load_tokenizer(path, gguf=None):
    more = dict(gguf_file=gguf) if gguf else {}
    return transformers.AutoTokenizer.from_pretrained(path, **more)
