#!/usr/bin/env python3
"""Pivot on one GPU beside PyTorch: same machine, same minutes, one after the other.

    python3 scripts/bench_gpu.py --json gpu.json              # all of it, about 5 minutes on an H100
    python3 scripts/bench_gpu.py --only attention,train_162m  # parts: see --help

Training: transformers' LlamaForCausalLM (sdpa attention), bf16 weights, torch.compile, fused AdamW, gradients clipped;
Pivot keeps fp32 weights and moments. Attention and decoding: cuDNN through scaled_dot_product_attention; Top-k by hand.
Needs PyTorch with CUDA; without build/pivot only PyTorch's figures are printed.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS = {
    "162m": dict(layers=12, dim=768, heads=12, kv_heads=12, ffn=2048, vocab=50304),
    "1.1b": dict(layers=22, dim=2048, heads=32, kv_heads=4, ffn=5632, vocab=32000),
}


class Session:
    """Runs both sides; rows = what is printed and written."""

    def __init__(self, args):
        self.args = args
        self.rows = []
        self.machine = {}
        self.failed = []

    def add(self, name, unit, torch_value, pivot, more_is_better=False):
        """`pivot`: values by attention spec. Ratios above 1 say that Pivot is faster."""
        if not pivot:
            self.rows.append(dict(name=name, unit=unit, pytorch=torch_value, spec="", pivot=None, ratio=None))
        for spec, value in pivot.items():
            ratio = None
            if torch_value and value:
                ratio = value / torch_value if more_is_better else torch_value / value
            self.rows.append(dict(name=name, unit=unit, pytorch=torch_value, spec=spec, pivot=value, ratio=ratio))

    def pivot(self, what, *flags):
        """Rows of one `pivot bench` call by name; none where it is missing or fails, which is printed."""
        if not os.access(self.args.pivot, os.X_OK):
            return {}
        free_memory()
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = [self.args.pivot, "bench", what, "--device", "cuda", "--json", out.name, *flags]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                self.fail(" ".join(command), (done.stdout + done.stderr).strip()[-800:])
                return {}
            with open(out.name) as file:
                result = json.load(file)
        self.machine = {key: result[key] for key in result if key not in ("rows", "command")}
        return {row["name"]: row for row in result["rows"]}

    def torch(self, what, measure):
        """measure(), or None where PyTorch cannot, which is printed."""
        import torch
        try:
            return measure()
        except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
            self.fail(f"PyTorch, {what}", str(error).strip()[:400])
            return None
        finally:
            free_memory()

    def fail(self, what, why):
        self.failed.append(what)
        print(f"bench_gpu: failed: {what}\n{why}", file=sys.stderr, flush=True)


def free_memory():
    import torch
    gc.collect()
    torch.cuda.empty_cache()


def values(rows, column, suffix=""):
    return {name.removesuffix(suffix): row[column] for name, row in rows.items()
            if name.endswith(suffix) and column in row}


def machine(s):
    import torch_gpu

    def copy():
        count = 1 << 30
        return 4 * count / torch_gpu.seconds_of(torch_gpu.copy_call(count)) * 1e-12

    def gemm():
        n = 8192
        return 2 * n**3 / torch_gpu.seconds_of(torch_gpu.gemm_call(n)) * 1e-12

    s.add("copy", "TB/s", s.torch("copy", copy), {}, more_is_better=True)
    speed = s.torch("gemm", gemm)
    rows = s.pivot("gemm", "--shapes", "8192x8192x8192", "--seconds", "0.5")
    s.add("GEMM 8192^3", "TFLOP/s", speed, {name: row["gflop_per_s"] * 1e-3 for name, row in rows.items()},
          more_is_better=True)


HEADS = ["--heads", "32", "--kv-heads", "8", "--head-dim", "128"]


def attention(s):
    import torch_gpu
    for length in (4096, 32768):
        def both():
            forward, backward = torch_gpu.dense_attention_calls(32, 8, length, 128)
            return torch_gpu.seconds_of(forward), torch_gpu.seconds_of(backward)

        forward, backward = s.torch(f"cuDNN attention, {length}", both) or (None, None)
        flags = [*HEADS, "--length", str(length), "--seconds", "0.3"]
        rows = s.pivot("attention", *flags, "--attn", "dense", "--attn", "topk:1%")
        for name, row in s.pivot("attention", *flags, "--attn", "dense", "--deterministic", "false").items():
            rows[name.replace("dense", "dense, any order")] = row
        name = f"attention 32/8 x 128, {length // 1024}K"
        s.add(f"{name}, cuDNN forward", "ms", milliseconds(forward), values(rows, "ms", " forward"))
        s.add(f"{name}, cuDNN backward", "ms", milliseconds(backward), values(rows, "ms", " backward"))


def topk(s):
    import torch_gpu
    length, keep = 4096, 256

    def by_hand():
        forward, both = torch_gpu.topk_attention_call(32, 8, length, 128, keep)
        return torch_gpu.seconds_of(forward), torch_gpu.seconds_of(both)

    forward, both = s.torch("Top-k by hand", by_hand) or (None, None)
    rows = s.pivot("attention", *HEADS, "--length", str(length), "--attn", f"topk:k={keep}", "--seconds", "0.3")
    name = f"Top-k by hand, 32/8 x 128, 4K, k={keep}"
    s.add(f"{name}, forward", "ms", milliseconds(forward), values(rows, "ms", " forward"))
    s.add(f"{name}, forward+backward", "ms", milliseconds(both), values(rows, "ms", " forward+backward"))


def decode(s):
    import torch_gpu
    for context in (32768, 131072):
        seconds = s.torch(f"decode attention, {context}", lambda: torch_gpu.recorded(
            torch_gpu.decode_attention_call(32, 8, context, 128)))
        rows = s.pivot("decode", *HEADS, "--context", str(context), "--attn", "dense", "--attn", "topk:1%",
                       "--seconds", "0.5")
        s.add(f"decode attention 32/8 x 128, {context // 1024}K, cuDNN", "us",
              seconds * 1e6 if seconds else None, {k: v * 1e3 for k, v in values(rows, "ms").items()})


def train(s, model, shapes):
    import torch
    import torch_gpu
    m = MODELS[model]
    flags = ["--model.layers", str(m["layers"]), "--model.dim", str(m["dim"]), "--model.heads", str(m["heads"]),
             "--model.kv-heads", str(m["kv_heads"]), "--model.head-dim", str(m["dim"] // m["heads"]),
             "--model.ffn-dim", str(m["ffn"]), "--model.vocab", str(m["vocab"]), "--model.tied-embeddings", "false",
             "--model.context", str(max(length for _, length in shapes))]
    for rows, length in shapes:
        def step():
            torch.cuda.reset_peak_memory_stats()
            torch.compiler.reset()
            seconds = torch_gpu.seconds_of(torch_gpu.train_call(m, rows, length), budget=2, most=20)
            return seconds, torch.cuda.max_memory_allocated() / 2**30

        seconds, peak = s.torch(f"training {model}", step) or (None, None)
        shape = [*flags, "--rows", str(rows), "--seq-len", str(length), "--seconds", "2"]
        found = s.pivot("train", *shape, "--attn", "dense", "--attn", "topk:1%")
        # PyTorch adds up gradients of attention in any order; so does this.
        for row in s.pivot("train", *shape, "--attn", "dense", "--deterministic", "false").values():
            found["dense, any order"] = row
        name = f"train {model}, B{rows} T{length}"
        s.add(name, "tok/s", rows * length / seconds if seconds else None, values(found, "tokens/s"),
              more_is_better=True)
        s.add(f"{name}, memory", "GiB", peak, values(found, "GiB"))


def milliseconds(seconds):
    return seconds * 1e3 if seconds else None


SECTIONS = {
    "machine": machine,
    "attention": attention,
    "topk": topk,
    "decode": decode,
    "train_162m": lambda s: train(s, "162m", [(32, 1024), (4, 8192)]),
    "train_1.1b": lambda s: train(s, "1.1b", [(4, 2048), (1, 16384)]),
}


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(rows):
    lines = ["| measurement | unit | PyTorch | Pivot | | Pivot is x faster (memory: smaller) |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        lines.append(f"| {row['name']} | {row['unit']} | {number(row['pytorch'])} | {number(row['pivot'])} "
                     f"| {row['spec']} | {ratio} |")
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", default=os.path.join(ROOT, "build", "pivot"))
    parser.add_argument("--only", default="", help="comma list of: " + " ".join(SECTIONS))
    parser.add_argument("--json", default="", help="also write the results to this file")
    args = parser.parse_args()
    args.sections = args.only.split(",") if args.only else list(SECTIONS)
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"--only {name}: must be among {' '.join(SECTIONS)}")
    return args


def main():
    args = arguments()
    try:
        import torch
    except ImportError:
        sys.exit("bench_gpu: PyTorch is missing for this Python: pip install torch")
    if not torch.cuda.is_available():
        sys.exit("bench_gpu: PyTorch finds no GPU")
    import torch_gpu
    if not os.access(args.pivot, os.X_OK):
        print(f"bench_gpu: {args.pivot} is missing, PyTorch alone (build it, or name it with --pivot)",
              file=sys.stderr)
    s = Session(args)
    seconds = {}
    for name in args.sections:
        begin = time.monotonic()
        print(f"bench_gpu: {name}", file=sys.stderr, flush=True)
        SECTIONS[name](s)
        seconds[name] = round(time.monotonic() - begin, 1)
    versions = dict(s.machine, gpu=torch.cuda.get_device_name(), pytorch=torch.__version__,
                    cudnn=torch.backends.cudnn.version(), model=torch_gpu.model_name(),
                    date=time.strftime("%Y-%m-%d"))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(dict(versions=versions, seconds=seconds, failed=s.failed, rows=s.rows), file, indent=1)
            file.write("\n")
    print(f"{versions['gpu']}, PyTorch {versions['pytorch']}, cuDNN {versions['cudnn']}, {versions['model']}\n")
    print(table(s.rows))
    print("\nseconds: " + ", ".join(f"{name} {value}" for name, value in seconds.items()))
    sys.exit(1 if s.failed else 0)


if __name__ == "__main__":
    main()
