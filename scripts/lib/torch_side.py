"""The PyTorch side of the CPU benchmarks: what somebody without Pivot would run.

Every function returns a callable without arguments; calling it once does the work that is timed.
"""
import math

import torch
import torch.nn.functional as F

CHUNK_SCORES = 1 << 25  # scores a chunk of Top-k by hand may hold (128 MiB): faster than all at once


def random_qkv(heads, length, dim):
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, heads, length, dim, requires_grad=True) for _ in range(3))
    return q, k, v, torch.randn(1, heads, length, dim)


def dense_attention(heads, length, dim):
    """Causal scaled_dot_product_attention, forward and backward, fp32."""
    q, k, v, dout = random_qkv(heads, length, dim)

    def call():
        q.grad = k.grad = v.grad = None
        F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(dout)

    return call


def budget(length, ratio, k_min=16):
    """k of each row: min(n, max(k_min, ceil(ratio * n))) for n = 1 .. length."""
    n = torch.arange(1, length + 1)
    k = torch.ceil(n.double() * ratio - 1e-9).long().clamp(min=k_min)
    return torch.minimum(k, n)


def topk_by_hand(heads, length, dim, ratio, how):
    """Exact Top-k attention from PyTorch's own operations, forward and backward, tuned.

    how = "mask": scores below the k-th largest become -inf. how = "gather": kept keys and values are
    gathered. Queries go in chunks, each chunk's backward pass right after its forward pass, so that
    no length x length buffer exists; keys right of the chunk's last query are never touched.
    """
    q, k, v, dout = random_qkv(heads, length, dim)
    counts = budget(length, ratio)
    rows = max(1, min(length, CHUNK_SCORES // (heads * length)))

    def chunk(begin, end):
        scores = q[0, :, begin:end] @ k[0, :, :end].transpose(-1, -2)
        visible = torch.arange(end)[None, :] <= torch.arange(begin, end)[:, None]
        with torch.no_grad():
            masked = scores.masked_fill(~visible, -math.inf)
            top = torch.topk(masked, int(counts[end - 1]), dim=-1)
            last = (counts[begin:end] - 1)[None, :, None].expand(heads, -1, 1)
        if how == "mask":
            keep = masked >= top.values.gather(-1, last)
            weights = torch.softmax(scores.masked_fill(~keep, -math.inf) * dim**-0.5, -1)
            out = weights @ v[0, :, :end]
        else:
            inside = torch.arange(top.indices.shape[-1])[None, None, :] <= last
            kept = scores.gather(-1, top.indices).masked_fill(~inside, -math.inf)
            weights = torch.softmax(kept * dim**-0.5, -1)
            head = torch.arange(heads)[:, None, None]
            out = (weights[..., None] * v[0][head, top.indices]).sum(-2)
        out.backward(dout[0, :, begin:end])

    def call():
        q.grad = k.grad = v.grad = None
        for begin in range(0, length, rows):
            chunk(begin, min(length, begin + rows))

    return call


def topk_plain(heads, length, dim, ratio):
    """The same as it is usually written: the whole score matrix, topk, scatter, softmax.

    Needs about 30 * heads * length^2 bytes.
    """
    q, k, v, dout = random_qkv(heads, length, dim)
    counts = budget(length, ratio)

    def call():
        q.grad = k.grad = v.grad = None
        scores = q @ k.transpose(-1, -2)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
        top = torch.topk(scores, int(counts[-1]), dim=-1)
        inside = torch.arange(int(counts[-1]))[None, :] < counts[:, None]
        kept = top.values.masked_fill(~inside, -math.inf)
        sparse = torch.full_like(scores, -math.inf).scatter(-1, top.indices, kept)
        (torch.softmax(sparse * dim**-0.5, -1) @ v).backward(dout)

    return call


def score_pass(heads, length, dim):
    """One QK^T pass over the causal half, in chunks: what any exact selection has to compute."""
    q, k, _, _ = random_qkv(heads, length, dim)
    rows = max(1, min(length, CHUNK_SCORES // (heads * length)))

    def call():
        with torch.no_grad():
            for begin in range(0, length, rows):
                end = min(length, begin + rows)
                q[0, :, begin:end] @ k[0, :, :end].transpose(-1, -2)

    return call


def decode_attention(heads, context, dim):
    """scaled_dot_product_attention of one query over a cache of `context` keys."""
    torch.manual_seed(1)
    k, v = (torch.randn(1, heads, context, dim) for _ in range(2))
    q = torch.randn(1, heads, 1, dim)

    def call():
        with torch.no_grad():
            F.scaled_dot_product_attention(q, k, v)

    return call


class Block(torch.nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.heads = heads
        self.attn_norm = torch.nn.RMSNorm(dim, eps=1e-5)
        self.qkv = torch.nn.Linear(dim, 3 * dim, bias=False)
        self.out = torch.nn.Linear(dim, dim, bias=False)
        self.ffn_norm = torch.nn.RMSNorm(dim, eps=1e-5)
        self.gate_up = torch.nn.Linear(dim, 2 * ffn, bias=False)
        self.down = torch.nn.Linear(ffn, dim, bias=False)

    def forward(self, x, cos, sin):
        rows, length, dim = x.shape
        qkv = self.qkv(self.attn_norm(x)).view(rows, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v,
                                                  is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, length, dim))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Llama(torch.nn.Module):
    def __init__(self, layers, dim, heads, ffn, vocab, length):
        super().__init__()
        self.embed = torch.nn.Embedding(vocab, dim)
        self.blocks = torch.nn.ModuleList(Block(dim, heads, ffn) for _ in range(layers))
        self.norm = torch.nn.RMSNorm(dim, eps=1e-5)
        for p in self.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, std=0.02)
        half = dim // heads // 2
        angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embed.weight)  # tied


def train_step(layers, dim, heads, ffn, vocab, length, rows):
    """Eager forward, loss, backward, clipping and AdamW (fused) of dense attention, fp32."""
    torch.manual_seed(1)
    model = Llama(layers, dim, heads, ffn, vocab, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95),
                                  weight_decay=0.1, fused=True)
    tokens = torch.randint(vocab, (rows, length + 1))

    def call():
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens[:, :-1])
        F.cross_entropy(logits.reshape(-1, vocab), tokens[:, 1:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return call
