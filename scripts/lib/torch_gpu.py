"""The PyTorch side of the GPU benchmarks: what somebody without Pivot would run.

Functions that end in _call return a callable without arguments; calling it once launches the work that is timed.
"""
import math
import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

try:
    import transformers
except ImportError:
    transformers = None

DTYPE = torch.bfloat16


def seconds_of(call, budget=1.0, warmups=3, most=50):
    """Median seconds of a call by CUDA events, over at least 3 and at most `most` calls in about `budget` seconds."""
    for _ in range(warmups):
        call()
    torch.cuda.synchronize()
    times = []
    while len(times) < 3 or (sum(times) < budget and len(times) < most):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def recorded(call, repeats=20):
    """Seconds of one call inside a CUDA graph of `repeats` of them: without the cost of launching from Python."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()
    return seconds_of(graph.replay) / repeats


def copy_call(count=1 << 30):
    """Bytes moved by a call: 4 * count (bf16 elements read and written)."""
    source = torch.empty(count, dtype=DTYPE, device="cuda")
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def gemm_call(n):
    a, b = (torch.randn(n, n, dtype=DTYPE, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def random_heads(heads, length, width, requires_grad):
    return torch.randn(1, heads, length, width, dtype=DTYPE, device="cuda", requires_grad=requires_grad)


def dense_attention_calls(heads, kv_heads, length, width):
    """Forward and backward of causal attention by cuDNN."""
    torch.manual_seed(1)
    q = random_heads(heads, length, width, True)
    k, v = (random_heads(kv_heads, length, width, True) for _ in range(2))
    dout = random_heads(heads, length, width, False)

    def forward():
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)

    out = forward()
    return forward, lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True)


def topk_attention_call(heads, kv_heads, length, width, keep):
    """Exact Top-k as it is usually written: the whole score matrix, topk, a scattered mask, softmax; both passes."""
    torch.manual_seed(1)
    q = random_heads(heads, length, width, True)
    k, v = (random_heads(kv_heads, length, width, True) for _ in range(2))
    dout = random_heads(heads, length, width, False)
    future = torch.ones(length, length, dtype=torch.bool, device="cuda").triu(1)

    def forward():
        group = heads // kv_heads
        keys, values = (x.repeat_interleave(group, 1) for x in (k, v))
        scores = (q @ keys.transpose(-1, -2)).masked_fill(future, -math.inf)
        index = scores.topk(keep, dim=-1).indices
        dropped = torch.ones_like(scores, dtype=torch.bool).scatter(-1, index, False)
        return torch.softmax(scores.masked_fill(dropped, -math.inf) * width**-0.5, -1) @ values

    def both():
        torch.autograd.grad(forward(), (q, k, v), dout)

    return forward, both


def decode_attention_call(heads, kv_heads, context, width, batch=1):
    """Dense attention of one new token over a cache by cuDNN."""
    torch.manual_seed(1)
    q = torch.randn(batch, heads, 1, width, dtype=DTYPE, device="cuda")
    k, v = (torch.randn(batch, kv_heads, context, width, dtype=DTYPE, device="cuda") for _ in range(2))

    def call():
        with torch.no_grad(), sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=heads != kv_heads)

    return call


class Block(torch.nn.Module):
    def __init__(self, m):
        super().__init__()
        self.heads, self.kv_heads, self.width = m["heads"], m["kv_heads"], m["dim"] // m["heads"]
        self.attn_norm = torch.nn.RMSNorm(m["dim"], eps=1e-5)
        self.qkv = torch.nn.Linear(m["dim"], (m["heads"] + 2 * m["kv_heads"]) * self.width, bias=False)
        self.out = torch.nn.Linear(m["dim"], m["dim"], bias=False)
        self.ffn_norm = torch.nn.RMSNorm(m["dim"], eps=1e-5)
        self.gate_up = torch.nn.Linear(m["dim"], 2 * m["ffn"], bias=False)
        self.down = torch.nn.Linear(m["ffn"], m["dim"], bias=False)

    def forward(self, x, cos, sin):
        rows, length, _ = x.shape
        heads = self.qkv(self.attn_norm(x)).view(rows, length, -1, self.width).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], 1)
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True,
                                                  enable_gqa=self.heads != self.kv_heads)
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Llama(torch.nn.Module):
    """Where transformers is not installed."""

    def __init__(self, m, length):
        super().__init__()
        self.embed = torch.nn.Embedding(m["vocab"], m["dim"])
        self.blocks = torch.nn.ModuleList(Block(m) for _ in range(m["layers"]))
        self.norm = torch.nn.RMSNorm(m["dim"], eps=1e-5)
        self.head = torch.nn.Linear(m["dim"], m["vocab"], bias=False)
        half = m["dim"] // m["heads"] // 2
        angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x))[:, :-1].float()
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


class HuggingFaceLoss(torch.nn.Module):
    def __init__(self, m, length):
        super().__init__()
        config = transformers.LlamaConfig(
            hidden_size=m["dim"], intermediate_size=m["ffn"], num_hidden_layers=m["layers"],
            num_attention_heads=m["heads"], num_key_value_heads=m["kv_heads"], vocab_size=m["vocab"],
            max_position_embeddings=length, tie_word_embeddings=False, use_cache=False,
            attn_implementation="sdpa")
        self.model = transformers.LlamaForCausalLM(config)

    def forward(self, tokens):
        return self.model(input_ids=tokens, labels=tokens).loss


def model_name():
    return "LlamaForCausalLM" if transformers else "a Llama in PyTorch (no transformers)"


def train_call(m, rows, length):
    """A compiled training step: bf16 weights, fused AdamW, every row one document."""
    torch.manual_seed(1)
    model = (HuggingFaceLoss if transformers else Llama)(m, length).to(device="cuda", dtype=DTYPE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(m["vocab"], (rows, length), device="cuda")
    compiled = torch.compile(model, dynamic=False)

    def call():
        optimizer.zero_grad(set_to_none=True)
        compiled(tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return call
