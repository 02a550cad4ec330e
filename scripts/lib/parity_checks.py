"""The comparisons of parity_hf.py. Each adds rows: what was compared, the measured value, its bound.

fp32 results cannot be equal bit for bit between two libraries, so the yardstick is PyTorch's own error: both sides are
compared with the same computation in double (llama_reference.py), and Pivot's error may be at most FACTOR times that of
PyTorch in fp32. What moves weights without arithmetic (convert, export) must be equal bit for bit.
"""
import json
import math
import os
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file

import llama_reference
import parity_models

FACTOR = 2.0  # two fp32 evaluations of one function: errors of the same size, not the same errors
GREEDY_TOKENS = 200


class Failure(Exception):
    """A pivot command that did not succeed."""


class Pivot:
    def __init__(self, binary, threads):
        self.binary, self.threads = binary, threads

    def __call__(self, command, *flags, compute=True):
        more = ["--device", "cpu", "--threads", str(self.threads)] if compute else []
        done = subprocess.run([self.binary, command, *map(str, flags), *more], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"pivot {command}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
        return done.stdout

    def logits(self, model, ids, attn="dense"):
        with tempfile.TemporaryDirectory() as work:
            with open(f"{work}/ids", "w") as file:
                json.dump(ids.tolist(), file)
            self("logits", "--model", model, "--ids", f"{work}/ids", "--attn", attn, "--out", f"{work}/out.safetensors")
            return load_file(f"{work}/out.safetensors")["logits"]

    def gradients(self, model, batch, attn):
        with tempfile.TemporaryDirectory() as work:
            save_file(batch, f"{work}/batch.safetensors")
            self("gradients", "--model", model, "--batch", f"{work}/batch.safetensors", "--attn", attn,
                 "--out", f"{work}/out.safetensors")
            return load_file(f"{work}/out.safetensors")

    def greedy(self, model, prompt, tokens):
        """Generated ids and the number of ids of the prompt."""
        with tempfile.TemporaryDirectory() as work:
            with open(f"{work}/prompt", "w") as file:
                file.write(prompt)
            self("sample", "--model", model, "--prompt-file", f"{work}/prompt", "--attn", "dense", "--temperature", 0,
                 "--tokens", tokens, "--json", f"{work}/out.json")
            with open(f"{work}/out.json") as file:
                result = json.load(file)
            return result["samples"][0]["ids"], result["prompt_tokens"]

    def convert(self, source, kind, out):
        self("convert", "--from", kind, source, out, compute=False)

    def export(self, kind, model, out, *flags):
        self("export", "--to", kind, model, out, *flags, compute=False)


class Table:
    """Rows of one run; `case` is the model."""

    def __init__(self):
        self.rows = []

    def add(self, case, check, value, bound, holds, note=""):
        self.rows.append(dict(case=case, check=check, value=value, bound=bound, holds=bool(holds), note=note))
        print(f"{'ok  ' if holds else 'FAIL'} {case}: {check}: {value} (bound {bound}) {note}", flush=True)

    def attempt(self, case, check, compare):
        """compare() adds rows; a command that fails is a failed row, not the end."""
        try:
            compare()
        except (Failure, KeyError, ValueError, OSError, RuntimeError, AttributeError) as error:
            self.add(case, check, "did not run", "-", False, f"{type(error).__name__}: {error}"[:500])


def rms(x):
    return float(x.double().square().mean().sqrt())


def sci(x):
    return float(f"{x:.3e}")


def sft_batch(ids, documents, generator):
    """A packed batch with a loss mask: of every document a stretch in the middle is context only, the last token too."""
    offsets = [0, *documents]
    targets = torch.full((len(ids),), -1, dtype=torch.int32)
    for begin, end in zip(offsets, offsets[1:]):
        learnt = torch.rand(end - begin, generator=generator) < 0.5
        learnt[-1] = False
        learnt[: (end - begin) // 4] = False
        where = torch.arange(begin, end)[learnt]
        targets[where] = ids[where + 1].int()
    return dict(ids=ids.int(), targets=targets, doc_offsets=torch.tensor(offsets, dtype=torch.int32))


def logits(table, case, pivot, path, model, ids, what="logits"):
    exact = llama_reference.Reference(model, torch.float64)
    with torch.no_grad():
        wanted = exact.logits(ids)
        torch_error = model(ids[None], use_cache=False).logits[0] - wanted
    error = pivot.logits(path, ids) - wanted
    ratio = rms(error) / rms(torch_error)
    table.add(case, f"{what}: rms error over transformers' own in fp32", sci(ratio), FACTOR, ratio <= FACTOR,
              f"rms {rms(error):.2e} and {rms(torch_error):.2e}, largest {float(error.abs().max()):.2e} and "
              f"{float(torch_error.abs().max()):.2e}, logits' deviation {float(wanted.std()):.2f}, {len(ids)} tokens")


def greedy(table, case, pivot, path, model, tokenizer, prompt):
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        wanted = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=GREEDY_TOKENS,
                                do_sample=False)[0, ids.shape[1]:].tolist()
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    found, prompt_ids = pivot.greedy(path, prompt, GREEDY_TOKENS)
    if wanted and wanted[-1] in ends and len(found) == len(wanted) - 1:
        wanted = wanted[:-1]  # the end of text itself is not part of Pivot's sample
    same = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
    note = f"prompt of {ids.shape[1]} ids" + ("" if prompt_ids == ids.shape[1] else f", Pivot made {prompt_ids}")
    table.add(case, "greedy ids equal", same, len(wanted), same == len(wanted) == len(found) and
              prompt_ids == ids.shape[1], note)


def transformers_names(config, grads):
    """Pivot's fused gradients by the names that transformers gives to their parts."""
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    q, kv = config.num_attention_heads * width, config.num_key_value_heads * width
    plain = {"attn_norm": "input_layernorm", "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
             "attn_out": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "down": "mlp.down_proj"}
    out = {}
    for name, value in grads.items():
        if name in ("embed.weight", "norm.weight"):
            out["model." + name.replace("embed", "embed_tokens")] = value
        elif name == "head.weight":
            out["lm_head.weight"] = value
        elif name.startswith("layers."):
            _, layer, part, kind = name.split(".")
            prefix = f"model.layers.{layer}."
            if part == "qkv":
                for key, piece in zip("qkv", value.split([q, kv, kv])):
                    out[f"{prefix}self_attn.{key}_proj.{kind}"] = piece
            elif part == "gate_up":
                out[f"{prefix}mlp.gate_proj.{kind}"], out[f"{prefix}mlp.up_proj.{kind}"] = value.chunk(2)
            else:
                out[f"{prefix}{plain[part]}.{kind}"] = value
    return out


def relative_errors(grads, wanted):
    """Norm of the difference over the norm, by parameter; both sides must have the same ones."""
    if grads.keys() != wanted.keys():
        raise ValueError(f"parameters differ: {sorted(grads.keys() ^ wanted.keys())[:4]}")
    return {name: float((grads[name].double() - w).norm() / w.norm()) for name, w in wanted.items()}


def gradients(table, case, pivot, path, model, batch, spec):
    close, rows, sets = 0, 0, None
    if spec == "dense":
        torch_loss, by_torch = llama_reference.transformers_gradients(model, batch)
        who = "transformers'"
    else:
        # The exact gradients are those of the sets that fp32 scores give: where two keys change places by rounding the
        # function jumps, and the jump would hide every other error.
        by_hand = llama_reference.Reference(model, torch.float32)
        torch_loss, by_torch = by_hand.gradients(batch, spec)
        close, rows, sets = by_hand.close_cuts, by_hand.rows, by_hand.sets
        who = "PyTorch's"
    loss, wanted = llama_reference.Reference(model, torch.float64, sets).gradients(batch, spec)
    found = pivot.gradients(path, batch, spec)
    targets = int((batch["targets"] >= 0).sum())
    pivot_loss = float(found.pop("loss").double().sum()) / targets
    errors = relative_errors(transformers_names(model.config, found), wanted)
    torch_errors = relative_errors(by_torch, wanted)
    ratios = {name: errors[name] / torch_errors[name] for name in errors}
    worst = max(ratios, key=ratios.get)
    # The geometric mean: one parameter with a large error on either side decides nothing.
    whole = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    cuts = "" if spec == "dense" else f"; {close} of {rows} rows cut within fp32's error"
    table.add(case, f"gradients, {spec}: error over {who} own in fp32, geometric mean of {len(errors)} parameters", sci(whole),
              FACTOR, whole <= FACTOR,
              f"worst {ratios[worst]:.2f} ({worst}, {errors[worst]:.1e}); largest {max(errors.values()):.1e} and "
              f"{max(torch_errors.values()):.1e}; loss {pivot_loss:.7f}, exact {loss:.7f}, fp32 {torch_loss:.7f}{cuts}")


def export_hf(table, case, pivot, path, model, ids, work):
    pivot.export("hf", path, f"{work}/exported")
    again = parity_models.load(f"{work}/exported")
    with torch.no_grad():
        same = torch.equal(again(ids[None], use_cache=False).logits, model(ids[None], use_cache=False).logits)
    differing = [n for n, p in model.state_dict().items() if not torch.equal(p, again.state_dict()[n])]
    table.add(case, "export --to hf, in transformers: logits", "equal" if same else "differ", "equal", same,
              f"{len(differing)} of {len(model.state_dict())} tensors differ")


def convert(table, case, pivot, path, kind, ids, work):
    pivot.convert(path, kind, f"{work}/converted")
    same = torch.equal(pivot.logits(f"{work}/converted", ids), pivot.logits(path, ids))
    table.add(case, f"convert --from {kind}: logits", "equal" if same else "differ", "equal", same)


def export_gguf(table, case, pivot, path, model, ids, work):
    """bf16 where all weights are BF16 numbers, else f32: nothing is lost, so everybody must compute the same."""
    pivot.export("gguf", path, f"{work}/model.gguf")
    same = torch.equal(pivot.logits(path, ids), pivot.logits(f"{work}/model.gguf", ids))
    table.add(case, "export --to gguf, read again: logits", "equal" if same else "differ", "equal", same)
    # transformers takes no scaling of rotary frequencies from GGUF files, and no head width of its own.
    width = getattr(model.config, "head_dim", None) or model.config.hidden_size // model.config.num_attention_heads
    plain_width = width * model.config.num_attention_heads == model.config.hidden_size
    if model.config.rope_parameters["rope_type"] == "default" and plain_width:
        again = parity_models.load(work, "model.gguf")
        with torch.no_grad():
            same = torch.equal(again(ids[None], use_cache=False).logits, model(ids[None], use_cache=False).logits)
        table.add(case, "export --to gguf, in transformers: logits", "equal" if same else "differ", "equal", same)


def export_q8(table, case, pivot, path, ids, work):
    """Quantised by Pivot, read by both: the same weights on both sides, rounded as Q8_0 rounds."""
    pivot.export("gguf", path, f"{work}/model-q8.gguf", "--dtype", "q8_0")
    logits(table, case, pivot, f"{work}/model-q8.gguf", parity_models.load(work, "model-q8.gguf"), ids,
           "export --to gguf --dtype q8_0: logits")
