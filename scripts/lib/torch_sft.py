"""The PyTorch side of bench_sft.py: fine-tuning steps as a loop around transformers does them.

Rows are packed from end to end and attended causally without regard to where conversations meet (TRL's packing strategy
"wrapped"): the cheapest step PyTorch has, no mask is built. Labels outside the answers are -100. Token values do not
change what a step costs, so they are random.
"""
import torch
import transformers

SHAPES = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
              vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True, use_cache=False,
              attn_implementation="sdpa")  # SmolLM2-135M


def model(device, dtype, checkpointing=False):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(**SHAPES)
    made = transformers.LlamaForCausalLM(config).to(device=device, dtype=dtype).train()
    if checkpointing:
        made.gradient_checkpointing_enable()
    return made


def batch(device, rows, length, learnt):
    """ids (rows, length) and labels, of which the share `learnt` is not -100, in stretches as answers are."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(SHAPES["vocab_size"], (rows, length), generator=generator)
    labels = ids.clone()
    stretch = 64
    for begin in range(0, length, stretch):
        if (begin // stretch * 7919) % 1000 >= learnt * 1000:
            labels[:, begin:begin + stretch] = -100
    return ids.to(device), labels.to(device)


class Loss(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids, labels):
        return self.inner(input_ids=ids, labels=labels).loss


def step_call(device, dtype, rows, length, learnt, compiled):
    """A training step: forward, loss, backward, clipping, fused AdamW; eager, or through torch.compile.

    bf16 keeps no fp32 copy of the weights (Pivot does): again the cheaper way for PyTorch.
    """
    inner = Loss(model(device, dtype))
    optimizer = torch.optim.AdamW(inner.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    ids, labels = batch(device, rows, length, learnt)
    forward = torch.compile(inner, dynamic=False) if compiled else inner

    def call():
        optimizer.zero_grad(set_to_none=True)
        forward(ids, labels).backward()
        torch.nn.utils.clip_grad_norm_(inner.parameters(), 1.0)
        optimizer.step()

    return call
