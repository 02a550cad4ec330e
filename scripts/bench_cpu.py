#!/usr/bin/env python3
"""Pivot on the CPU beside PyTorch: same machine, same minutes, interleaved, medians.

    python3 scripts/bench_cpu.py                     # all of it, about 20 minutes on 2 cores
    python3 scripts/bench_cpu.py --only attention,decode --repeats 1
    python3 scripts/bench_cpu.py --small --out /tmp  # tiny sizes: does everything run?

Writes cpu.json and cpu.md to --out (docs/benchmarks). Needs build/pivot and, on the Python side, PyTorch.
Every ratio is formed inside one round, from two measurements that follow each other, and the median
over the rounds is what the table shows; the spread is in cpu.json.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = dict(layers=6, dim=256, heads=4, ffn=688, vocab=4096)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pivot", default=os.path.join(ROOT, "build", "pivot"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, default=1, help="repeats of one measurement")
    parser.add_argument("--only", default="", help="comma list of: " + " ".join(SECTIONS))
    parser.add_argument("--out", default=os.path.join(ROOT, "docs", "benchmarks"))
    parser.add_argument("--small", action="store_true", help="tiny sizes: a smoke test")
    return parser.parse_args()


class Session:
    """Runs both sides and keeps what they measured: samples[key] = list of seconds, one a round."""

    def __init__(self, args):
        self.args = args
        self.samples = {}
        self.machine = {}
        self.checks = []
        self.small = args.small

    def size(self, full, small):
        return small if self.small else full

    def pivot(self, what, *flags):
        """Rows of one `pivot bench` call by name, and the child's peak resident memory in bytes."""
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            command = [self.args.pivot, "bench", what, "--json", out.name, "--threads",
                       str(self.args.threads), "--seconds", str(self.args.seconds), *flags]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            text = process.stdout.read().decode(errors="replace")
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                sys.exit("failed: " + " ".join(command) + "\n" + text)
            with open(out.name) as file:
                result = json.load(file)
        self.machine = {key: result[key] for key in result if key not in ("rows", "command")}
        return {row["name"]: row for row in result["rows"]}, usage.ru_maxrss * 1024

    def torch(self, call):
        """Median seconds of one PyTorch call after a warm-up call."""
        call()
        times = []
        while len(times) < 3 or sum(times) < self.args.seconds:
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
            if len(times) >= 3 and times[-1] > self.args.seconds:
                break
        return statistics.median(times)

    def add(self, key, seconds):
        self.samples.setdefault(key, []).append(seconds)

    def median(self, key):
        return statistics.median(self.samples[key])

    def ratio(self, over, under):
        """Median over the rounds of over / under."""
        return statistics.median(a / b for a, b in zip(self.samples[over], self.samples[under]))

    def check(self, claim, value, bound, holds, unit="x"):
        self.checks.append(dict(claim=claim, value=value, bound=bound, holds=holds, unit=unit))

    def progress(self, text):
        print(text, file=sys.stderr, flush=True)


def attention(s):
    import torch_side
    heads, dim, length = 8, 64, s.size(8192, 512)
    dense = torch_side.dense_attention(heads, length, dim)
    by_hand = {f"chunks, {how}": torch_side.topk_by_hand(heads, length, dim, 0.01, how)
               for how in ("mask", "gather")}
    by_hand["whole matrix"] = torch_side.topk_plain(heads, length, dim, 0.01)
    for number in range(s.args.rounds):
        s.progress(f"attention, round {number + 1}")
        rows, _ = s.pivot("attention", "--heads", "8", "--kv-heads", "8", "--head-dim", "64",
                          "--length", str(length), "--attn", "dense", "--attn", "topk:1%")
        s.add("attention/pivot dense", rows["dense forward+backward"]["ms"] / 1e3)
        s.add("attention/pivot topk:1%", rows["topk:1% forward+backward"]["ms"] / 1e3)
        s.add("attention/pytorch dense", s.torch(dense))
        if number < 2:
            for how, call in by_hand.items():
                s.add(f"attention/pytorch topk 1% by hand, {how}", s.torch(call))
    ratio = s.ratio("attention/pivot topk:1%", "attention/pytorch dense")
    s.check(f"Top-k 1 % forward+backward, T={length}, of PyTorch's dense attention", ratio,
            "<= 0.35", ratio <= 0.35)
    ours = s.median("attention/pivot topk:1%")
    faster = s.median("attention/pytorch topk 1% by hand, whole matrix") / ours
    s.check("over Top-k by hand in PyTorch (whole score matrix, topk, scatter)", faster, ">= 10",
            faster >= 10)
    tuned = min(s.median(f"attention/pytorch topk 1% by hand, {how}") for how in by_hand)
    s.check("over the fastest Top-k we could write in PyTorch (chunked)", tuned / ours, "-", None)


def scaling(s):
    import torch_side
    lengths = s.size([2048, 4096, 8192], [256, 512])
    calls = {n: (torch_side.dense_attention(8, n, 64), torch_side.score_pass(8, n, 64))
             for n in lengths}
    for number in range(min(3, s.args.rounds)):
        for n in lengths:
            s.progress(f"scaling, round {number + 1}, T={n}")
            rows, _ = s.pivot("attention", "--heads", "8", "--kv-heads", "8", "--head-dim", "64",
                              "--length", str(n), "--attn", "dense", "--attn", "topk:1%")
            s.add(f"scaling/{n} pivot dense", rows["dense forward+backward"]["ms"] / 1e3)
            s.add(f"scaling/{n} pivot topk:1%", rows["topk:1% forward+backward"]["ms"] / 1e3)
            s.add(f"scaling/{n} pytorch dense", s.torch(calls[n][0]))
            s.add(f"scaling/{n} pytorch one QK^T pass", s.torch(calls[n][1]))
    low, high = lengths[0], lengths[-1]
    ours = s.ratio(f"scaling/{high} pivot topk:1%", f"scaling/{low} pivot topk:1%")
    one_pass = s.ratio(f"scaling/{high} pytorch one QK^T pass",
                       f"scaling/{low} pytorch one QK^T pass")
    s.check(f"growth from T={low} to T={high}, over the growth of one QK^T pass", ours / one_pass,
            "<= 1.15", ours / one_pass <= 1.15)


def train(s):
    import torch_side
    for key, length, rows_, spec in (("T1024", s.size(1024, 128), 4, "dense"),
                                     ("T4096", s.size(4096, 256), 1, "topk:2%")):
        call = torch_side.train_step(**MODEL, length=length, rows=rows_)
        for number in range(s.args.rounds):
            s.progress(f"training step, {key}, round {number + 1}")
            rows, _ = s.pivot("train", "--seq-len", str(length), "--rows", str(rows_), *model(),
                              "--attn", spec)
            s.add(f"train/{key} pivot {spec}", rows[spec]["ms"] / 1e3)
            s.add(f"train/{key} pytorch dense", s.torch(call))
        bound = 1.2 if spec == "dense" else 2
        faster = s.ratio(f"train/{key} pytorch dense", f"train/{key} pivot {spec}")
        s.check(f"training step, {rows_} x {length} tokens, {spec}, over PyTorch dense", faster,
                f">= {bound}", faster >= bound)


def model():
    return ["--model.layers", str(MODEL["layers"]), "--model.dim", str(MODEL["dim"]),
            "--model.heads", str(MODEL["heads"]), "--model.kv-heads", str(MODEL["heads"]),
            "--model.head-dim", str(MODEL["dim"] // MODEL["heads"]), "--model.ffn-dim",
            str(MODEL["ffn"]), "--model.vocab", str(MODEL["vocab"])]


def decode(s):
    import torch_side
    context = s.size(32768, 1024)
    call = torch_side.decode_attention(8, context, 64)
    shares = []
    for number in range(s.args.rounds):
        s.progress(f"decoding, round {number + 1}")
        rows, _ = s.pivot("decode", "--heads", "8", "--kv-heads", "8", "--head-dim", "64",
                          "--context", str(context), "--attn", "dense", "--attn", "topk:1%")
        s.add("decode/pivot dense", rows["dense"]["ms"] / 1e3)
        s.add("decode/pivot topk:1%", rows["topk:1%"]["ms"] / 1e3)
        s.add("decode/pytorch dense", s.torch(call))
        shares.append(rows["dense"]["of read"])
    ratio = s.ratio("decode/pivot topk:1%", "decode/pivot dense")
    s.check(f"decoding at {context} keys, Top-k 1 % of own dense", ratio, "<= 0.7", ratio <= 0.7)
    share = statistics.median(shares)
    s.check("own dense decoding, share of the measured read bandwidth", share, ">= 0.8",
            share >= 0.8)


def memory(s):
    length = s.size(32768, 1024)
    s.progress(f"memory of a training step of {length} tokens")
    _, peak = s.pivot("train", "--seq-len", str(length), "--rows", "1", *model(), "--attn",
                      "topk:1%", "--seconds", "0")
    gib = peak / 2**30
    s.check(f"peak resident memory of a {length}-token training step, Top-k 1 %", gib, "<= 4",
            gib <= 4, "GiB")


SECTIONS = {"attention": attention, "scaling": scaling, "train": train, "decode": decode,
            "memory": memory}


def tokens_of(key):
    """Tokens of one training step, where the key is one."""
    return {"train/T1024": 4096, "train/T4096": 4096}.get(key.split(" ")[0])


def page(s, versions, command):
    lines = ["# CPU benchmarks", "",
             "Pivot beside PyTorch on the same machine, in interleaved rounds of one script.", "",
             f"    {command}", "",
             f"{versions['processor']}, {versions['threads']} threads; measured peaks: "
             f"{versions['peak_gflop_per_s']:.0f} GFLOP/s sgemm, "
             f"{versions['peak_gb_per_s']:.1f} GB/s read. Pivot {versions['version']} "
             f"({versions['commit']}, {versions['compiler']}), PyTorch {versions['pytorch']}, "
             f"Python {versions['python']}, {versions['date']}. fp32 everywhere. Attention: 8 heads, "
             "d = 64, one document. Training: 6 layers x 256, 4 heads, FFN 688, vocabulary 4096, "
             "forward + backward + clipping + AdamW (PyTorch: eager, scaled_dot_product_attention, "
             "fused AdamW).", "", "| claim | measured | bound | holds |", "|---|---|---|---|"]
    for c in s.checks:
        holds = {True: "yes", False: "**no**", None: ""}[c["holds"]]
        lines.append(f"| {c['claim']} | {c['value']:.3g} {c['unit']} | {c['bound']} | {holds} |")
    lines += ["", "| measurement | median ms | lowest | highest | rounds | tokens/s |",
              "|---|---|---|---|---|---|"]
    for key, values in s.samples.items():
        tokens = tokens_of(key) if not s.small else None
        rate = f"{tokens / statistics.median(values):.0f}" if tokens else ""
        lines.append(f"| {key} | {statistics.median(values) * 1e3:.4g} | {min(values) * 1e3:.4g} "
                     f"| {max(values) * 1e3:.4g} | {len(values)} | {rate} |")
    return "\n".join(lines + ["", "All rounds are in [cpu.json](cpu.json)."]) + "\n"


def main():
    args = arguments()
    if not os.path.exists(args.pivot):
        sys.exit(f"{args.pivot} is missing: build it first (scripts/quickstart.sh or cmake)")
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is missing for this Python: pip install torch (the CPU build will do)")
    torch.set_num_threads(args.threads)
    chosen = args.only.split(",") if args.only else list(SECTIONS)
    for name in chosen:
        if name not in SECTIONS:
            sys.exit(f"--only {name}: must be among {' '.join(SECTIONS)}")
    session = Session(args)
    for name in chosen:
        SECTIONS[name](session)
    versions = dict(session.machine, pytorch=torch.__version__, python=platform.python_version(),
                    date=time.strftime("%Y-%m-%d"))
    command = "python3 scripts/bench_cpu.py" + (f" --only {args.only}" if args.only else "")
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "cpu.json"), "w") as file:
        json.dump(dict(command=command, versions=versions, checks=session.checks,
                       seconds=session.samples), file, indent=1)
        file.write("\n")
    text = page(session, versions, command)
    with open(os.path.join(args.out, "cpu.md"), "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
