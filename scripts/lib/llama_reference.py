"""The Llama family (Llama, Mistral, Qwen2, Qwen3) written to be obvious, in any floating-point type.

In double it is what both PyTorch and Pivot are measured against: transformers itself computes norms, rotations and the
softmax in fp32 whatever the type of its weights. Exact Top-k follows docs/semantics.md: keys sorted by score, equal ones
by index, the set constant in the backward pass.
"""
import math
from fractions import Fraction

import torch


def keep_of(spec):
    """k of a row that sees n keys, for 'dense', 'topk:RATIO[,min=N]' and 'topk:k=N'."""
    if spec == "dense":
        return lambda n: n
    what, *settings = spec.removeprefix("topk:").split(",")
    if what.startswith("k="):
        return lambda n: min(n, int(what[2:]))
    ratio = Fraction(what[:-1]) / 100 if what.endswith("%") else Fraction(what)
    least = next((int(s[4:]) for s in settings if s.startswith("min=")), 16)
    return lambda n: min(n, max(least, math.ceil(ratio * n)))


class Reference:
    """`model`: a transformers model, whose weights are taken in `dtype` and whose rotary frequencies are used.

    `sets`: Top-k sets that another Reference chose for the same documents, in their order, to compute with.
    """

    def __init__(self, model, dtype, sets=None):
        self.given = iter(sets) if sets is not None else None
        self.sets = []
        self.config = model.config
        self.weights = {name: value.detach().to(dtype).requires_grad_()
                        for name, value in model.named_parameters(remove_duplicate=True)}
        rotary = model.model.rotary_emb
        self.frequencies = rotary.inv_freq.to(dtype)
        self.rotary_scale = rotary.attention_scaling
        self.close_cuts = 0  # Top-k rows whose last kept and first dropped score nearly agree
        self.rows = 0

    def logits(self, ids, spec="dense"):
        """(T, V) of one document."""
        keep = keep_of(spec)
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config.num_hidden_layers):
            p = f"model.layers.{layer}."
            x = x + self.attention(self.norm(x, p + "input_layernorm.weight"), p + "self_attn.", keep)
            x = x + self.feed_forward(self.norm(x, p + "post_attention_layernorm.weight"), p + "mlp.")
        x = self.norm(x, "model.norm.weight")
        tied = "lm_head.weight" not in self.weights
        return x @ self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"].T

    def norm(self, x, name):
        return self.weights[name] * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config.rms_norm_eps)

    def linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def feed_forward(self, x, p):
        gate, up = self.linear(x, p + "gate_proj"), self.linear(x, p + "up_proj")
        return self.linear(torch.nn.functional.silu(gate) * up, p + "down_proj")

    def attention(self, x, p, keep):
        c = self.config
        width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        heads = lambda name, count: self.linear(x, p + name).view(len(x), count, width)
        q, k, v = heads("q_proj", c.num_attention_heads), *(heads(n, c.num_key_value_heads) for n in ("k_proj", "v_proj"))
        if p + "q_norm.weight" in self.weights:
            q, k = self.norm(q, p + "q_norm.weight"), self.norm(k, p + "k_norm.weight")
        group = c.num_attention_heads // c.num_key_value_heads
        q, k, v = (t.transpose(0, 1) for t in (self.rotate(q), self.rotate(k), v))
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        scores = q @ k.transpose(-1, -2)
        scores = scores.masked_fill(~self.kept(scores.detach(), keep), -math.inf)
        out = torch.softmax(scores * width**-0.5, -1) @ v
        return self.linear(out.transpose(0, 1).reshape(len(x), -1), p + "o_proj")

    def rotate(self, x):
        angle = torch.arange(len(x), dtype=x.dtype)[:, None] * self.frequencies
        cos, sin = angle.cos()[:, None] * self.rotary_scale, angle.sin()[:, None] * self.rotary_scale
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def kept(self, scores, keep):
        """Which keys each query keeps, (H, T, T)."""
        length = scores.shape[-1]
        visible = torch.ones(length, length, dtype=torch.bool).tril()
        counts = torch.tensor([keep(n) for n in range(1, length + 1)])
        if bool((counts == torch.arange(1, length + 1)).all()):
            return visible.expand(scores.shape)
        if self.given is not None:
            return next(self.given)
        ordered, order = scores.masked_fill(~visible, -math.inf).sort(dim=-1, descending=True, stable=True)
        self.count_close_cuts(ordered, counts)
        rank = order.argsort(dim=-1)
        self.sets.append((rank < counts[:, None]) & visible)
        return self.sets[-1]

    def count_close_cuts(self, ordered, counts):
        """1e-5 of the largest score is what fp32 may move a score of these models by."""
        last = ordered.gather(-1, (counts - 1)[None, :, None].expand(len(ordered), -1, 1))[..., 0]
        after = counts.clamp(max=ordered.shape[-1] - 1)[None, :, None].expand(len(ordered), -1, 1)
        first_dropped = ordered.gather(-1, after)[..., 0]
        size = ordered.abs().masked_fill(ordered.isinf(), 0).amax(-1)
        self.close_cuts += int(((last - first_dropped) < 1e-5 * size).sum())
        self.rows += ordered.shape[0] * ordered.shape[1]

    def loss(self, batch, spec="dense"):
        """Mean cross-entropy over the targets, documents on their own."""
        return batch_loss(lambda ids: self.logits(ids, spec), batch)

    def gradients(self, batch, spec="dense"):
        loss = self.loss(batch, spec)
        names = list(self.weights)
        grads = torch.autograd.grad(loss, [self.weights[n] for n in names])
        return float(loss.detach()), dict(zip(names, grads))


def batch_loss(logits_of, batch):
    ids, targets, offsets = batch["ids"], batch["targets"], batch["doc_offsets"].tolist()
    total = 0
    for begin, end in zip(offsets, offsets[1:]):
        total = total + torch.nn.functional.cross_entropy(
            logits_of(ids[begin:end].long()), targets[begin:end].long(), ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum()


def transformers_gradients(model, batch):
    """The same by transformers and autograd, in the type of the model."""
    loss = batch_loss(lambda ids: model(ids[None], use_cache=False).logits[0], batch)
    names, values = zip(*model.named_parameters(remove_duplicate=True))
    return float(loss.detach()), dict(zip(names, torch.autograd.grad(loss, values)))
