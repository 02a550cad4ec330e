#!/usr/bin/env python3
"""Makes tests/golden/peft/tiny.safetensors: a tiny Llama with adapters of PEFT, one batch, and the
loss and adapter gradients that PEFT and PyTorch get. Pivot's own are tested against them.

    python3 scripts/make_peft_fixture.py tests/golden/peft/tiny.safetensors
"""
import sys

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

RANK, ALPHA = 3, 5
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(path):
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=37, hidden_size=24, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=8, intermediate_size=40, rms_norm_eps=1e-5,
        tie_word_embeddings=True, max_position_embeddings=64, attn_implementation="eager")
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, w in model.named_parameters():
            if w.dim() == 2:
                w.normal_(std=0.15)  # every nonlinearity at work
            else:
                w.add_(0.1 * torch.randn_like(w))
    base = {name: w.detach().clone() for name, w in model.named_parameters()}
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS,
                                             lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"))
    for name, w in model.named_parameters():
        if "lora_B" in name:
            w.data.normal_(std=0.1)

    tokens = torch.randint(0, 37, (1, 32), dtype=torch.int32)
    targets = torch.full((32,), -1, dtype=torch.int32)
    targets[:-1] = tokens[0, 1:]
    targets[2::5] = -1
    logits = model(tokens.long()).logits[0]
    wanted = torch.where(targets < 0, torch.full_like(targets, -100), targets).long()
    losses = torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="none")
    losses.sum().backward()

    tensors = dict(base)
    gradients = {name: w.grad for name, w in model.named_parameters() if w.requires_grad}
    for name, w in get_peft_model_state_dict(model).items():
        tensors[name] = w.detach().clone()
        # Inside the model the adapter has a name of its own before ".weight".
        tensors["grad." + name] = gradients[name.replace(".weight", ".default.weight")]
    tensors |= {"tokens": tokens[0], "targets": targets, "losses": losses.detach()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              metadata={"peft": peft.__version__, "torch": torch.__version__,
                        "transformers": transformers.__version__})
    print(f"{path}: loss {losses.sum().item():.6f}, {len(tensors)} tensors")


if __name__ == "__main__":
    main(sys.argv[1])
