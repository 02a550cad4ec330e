#!/usr/bin/env python3
"""Fine-tuning steps of SmolLM2-135M: `pivot sft` beside transformers, same machine, rounds in turn.

    python3 scripts/bench_sft.py --model SmolLM2-135M-Instruct.Q4_1.gguf --data work/data          # CPU, about 20 minutes
    python3 scripts/bench_sft.py --model ... --data ... --device cuda --json sft_gpu.json

Pivot fine-tunes on the conversations that sft_data.py wrote and reports tokens/s of every step (all of it: batches, forward,
backward, clipping, AdamW in fp32; packed by document, answers learnt). PyTorch does steps of as many tokens on the same shapes:
eager in fp32 on the CPU; on a GPU torch.compile in bf16 (lib/torch_sft.py says what it may leave out). A ratio is formed
inside one round; the median over the rounds is shown, the spread is in the JSON.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))

ROOT = pathlib.Path(__file__).parent.parent
CPU_SHAPES = [(1, 1024), (1, 4096)]
GPU_SHAPES = [(16, 2048), (8, 8192)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", type=pathlib.Path, default=ROOT / "build" / "pivot")
    parser.add_argument("--model", required=True, help="SmolLM2-135M as pivot reads it")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="directory that sft_data.py wrote")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="on the CPU, of both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="timed steps of a round (4 on the CPU, 20 on a GPU)")
    parser.add_argument("--attn", default="", help="specs, separated by semicolons (CPU: dense;topk:2%%, GPU: dense;topk:1%%)")
    parser.add_argument("--shapes", default="", help="rows x tokens: 1x1024,1x4096")
    parser.add_argument("--json", default="", help="write the results to this file")
    args = parser.parse_args()
    cpu = args.device == "cpu"
    args.attn = (args.attn or ("dense;topk:2%" if cpu else "dense;topk:1%")).split(";")
    args.steps = args.steps or (4 if cpu else 20)
    args.shapes = ([tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",")] if args.shapes else
                   CPU_SHAPES if cpu else GPU_SHAPES)
    return args


def run_pivot(args, work, spec, rows, length):
    """Median tokens/s of a few steps, and the share of tokens that are learnt."""
    shards = work / f"data{length}"
    if not shards.exists():
        call(args, "data", "chat", "--input", args.data / "train.jsonl.zst", "--model", args.model, "--context", length,
             "--longer", "drop", "--out", shards)
    warm = 3  # first steps choose kernels and record graphs
    run = work / "run"
    subprocess.run(["rm", "-rf", run], check=True)
    call(args, "sft", "--model", args.model, f"data.train={shards / 'train'}", f"output={run}", f"attention.spec={spec}",
         "epochs=0", f"steps={args.steps + warm}", f"batch.tokens={rows * length}", f"data.seq_len={length}",
         "optim.lr=1e-5", "optim.weight_decay=0", "checkpoint.every=0", "sample.every=0", "validation.every=0",
         "diagnostics_every=0", "deterministic=false" if args.device == "cuda" else "deterministic=true",
         f"gemm_choices={work / 'gemm_choices.json'}", f"device={args.device}", f"threads={args.threads}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"][warm:]
    return (statistics.median(s["tok_s"] for s in steps),
            sum(s["targets"] for s in steps) / (len(steps) * rows * length))


def call(args, *words):
    command = [str(args.pivot), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench_sft: failed: {' '.join(command)}\n{(done.stdout + done.stderr)[-1500:]}")


class TorchSteps:
    """Timed in turn with Pivot; built anew for each shape."""

    def __init__(self, args, rows, length, learnt):
        import torch
        import torch_sft
        self.args, self.tokens = args, rows * length
        cuda = args.device == "cuda"
        self.synchronize = torch.cuda.synchronize if cuda else lambda: None
        self.step = torch_sft.step_call(args.device, torch.bfloat16 if cuda else torch.float32, rows, length, learnt,
                                        compiled=cuda)
        for _ in range(3 if cuda else 1):
            self.step()

    def tokens_per_second(self):
        times = []
        for _ in range(self.args.steps):
            self.synchronize()
            begin = time.perf_counter()
            self.step()
            self.synchronize()
            times.append(time.perf_counter() - begin)
        return self.tokens / statistics.median(times)


def release():
    import gc

    import torch
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(args, work, rows, length):
    """One row a spec, from interleaved rounds."""
    speeds = {spec: [] for spec in args.attn}
    torch_speeds, side = [], None
    for number in range(args.rounds):
        print(f"bench_sft: {rows} x {length}, round {number + 1}", file=sys.stderr, flush=True)
        for spec in args.attn:
            speed, learnt = run_pivot(args, work, spec, rows, length)
            speeds[spec].append(speed)
        side = side or TorchSteps(args, rows, length, learnt)
        torch_speeds.append(side.tokens_per_second())
    del side
    release()
    return [dict(rows=rows, length=length, spec=spec, learnt=round(learnt, 3), pivot=values, pytorch=torch_speeds,
                 ratio=statistics.median(a / b for a, b in zip(values, torch_speeds))) for spec, values in speeds.items()]


def table(results):
    lines = ["| rows x tokens of a step | learnt | PyTorch tokens/s | Pivot tokens/s | attention | Pivot is x faster (lowest, highest round) |",
             "|---|---|---|---|---|---|"]
    for r in results:
        ratios = [a / b for a, b in zip(r["pivot"], r["pytorch"])]
        lines.append(f"| {r['rows']} x {r['length']} | {100 * r['learnt']:.0f} % | {statistics.median(r['pytorch']):.0f} "
                     f"| {statistics.median(r['pivot']):.0f} | {r['spec']} | {r['ratio']:.2f} ({min(ratios):.2f}, {max(ratios):.2f}) |")
    return "\n".join(lines)


def main():
    args = arguments()
    if not os.access(args.pivot, os.X_OK):
        sys.exit(f"bench_sft: {args.pivot} is missing: build it first, or name it with --pivot")
    try:
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"bench_sft: {error}: pip install torch transformers")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(prefix="bench-sft-") as folder:
        results = [row for rows, length in args.shapes for row in measure(args, pathlib.Path(folder), rows, length)]
    facts = dict(device=torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {args.threads} threads",
                 pytorch=torch.__version__, transformers=transformers.__version__, python=platform.python_version(),
                 pivot=subprocess.run([args.pivot, "--version"], capture_output=True, text=True).stdout.strip(),
                 date=time.strftime("%Y-%m-%d"))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(dict(versions=facts, results=results), indent=1) + "\n")
    print(", ".join(str(value) for value in facts.values()) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
