#!/usr/bin/env python3
"""Trains the quickstart's model for some steps on the CPU and on the GPU from one seed and compares the losses.

    python3 scripts/compare_devices.py [--steps 200] [--pivot build/pivot] [--out runs/compare] [--json FILE]

What must hold:
  1. the GPU run repeats bit for bit: two bf16 runs have the same losses, digit for digit;
  2. GPU and CPU agree in f32 as well as the CPU agrees with itself. Both compute the same formulas and select by
     the same score bits; they differ in the order in which fp32 sums are added. The CPU's own sensitivity to that
     order is measured by training with other micro-batches (same mathematics, other order), and the bound for
     step t is SLACK times the largest difference that it has shown up to t, floored at one rounding of the loss;
  3. bf16 follows f32: over windows of 20 steps the mean losses differ by less than BF16_BOUND of the loss. A bf16
     product errs by 2^-8 a term at random; losses are means over 2048 targets of sums over 128 channels, so the error
     of one evaluation is far below 2^-8, and over 200 steps the two runs must not have drifted apart by more.
Exit code 0 if all three hold.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

SLACK = 8.0
BF16_BOUND = 2.0 ** -6
WINDOW = 20


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr[-2000:]}")


def make_data(pivot, out):
    for name, extra in (("near", ["--pairs-min", "2", "--pairs", "3", "--queries", "8", "--length", "0",
                                  "--count", "20000"]),
                        ("many", ["--pairs-min", "4", "--pairs", "32", "--length", "0", "--count", "4000"])):
        if (out / "data" / name).exists():
            continue
        run([pivot, "data", "synth", "--tokenizer", "bytes", "--seed", "1", "--vocab-keys", "48",
             "--vocab-values", "48", "--noise-symbols", "16", "--task", "mqar", "--out",
             str(out / "data" / name), *extra])


def losses(pivot, out, name, steps, options):
    run_dir = out / name
    shutil.rmtree(run_dir, ignore_errors=True)
    data = out / "data"
    run([pivot, "train", "configs/quickstart.toml", f"output={run_dir}", "seed=1", f"steps={steps}", "time=0s",
         f"data.train={data}/near/train@60,{data}/many/train@40", "data.validation=", "sample.every=0",
         "checkpoint.every=0", *options])
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


def largest(a, b):
    """Largest difference of a and b up to and including each step."""
    worst, result = 0.0, []
    for x, y in zip(a, b):
        worst = max(worst, abs(x - y))
        result.append(worst)
    return result


def windows(x):
    return [sum(x[i:i + WINDOW]) / WINDOW for i in range(0, len(x) - WINDOW + 1, WINDOW)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--pivot", default="build/pivot")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/compare"))
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    make_data(args.pivot, args.out)

    def train(name, *options):
        return losses(args.pivot, args.out, name, args.steps, options)

    cpu = train("cpu", "device=cpu", "batch.micro=4")
    others = [train(f"cpu-micro{m}", "device=cpu", f"batch.micro={m}") for m in (1, 2)]
    gpu = train("gpu-f32", "device=cuda", "dtype=f32", "batch.micro=4")
    bf16 = [train(f"gpu-bf16-{i}", "device=cuda", "dtype=bf16", "batch.micro=4") for i in (1, 2)]

    repeats = bf16[0] == bf16[1]
    own = [max(x) for x in zip(*(largest(cpu, other) for other in others))]
    bound = [SLACK * max(o, abs(c) * 2.0 ** -23) for o, c in zip(own, cpu)]
    share = max(d / b for d, b in zip(largest(cpu, gpu), bound))
    drift = max(abs(a - b) / a for a, b in zip(windows(gpu), windows(bf16[0])))
    result = {"steps": args.steps, "loss_first": cpu[0], "loss_last": cpu[-1], "bf16_repeats": repeats,
              "cpu_own_difference": own[-1], "cpu_gpu_f32_difference": largest(cpu, gpu)[-1],
              "f32_share_of_bound": share, "bf16_drift": drift, "bf16_bound": BF16_BOUND,
              "losses": {"cpu": cpu, "gpu_f32": gpu, "gpu_bf16": bf16[0]}}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    verdict = {True: "yes", False: "NO"}
    print(f"{args.steps} steps, loss {cpu[0]:.4f} to {cpu[-1]:.4f} (CPU)")
    print(f"bf16 repeats bit for bit: {verdict[repeats]}")
    print(f"f32: CPU and GPU differ by at most {largest(cpu, gpu)[-1]:.3g}, the CPU from itself by {own[-1]:.3g}; "
          f"{share:.2f} of the bound: {verdict[share <= 1]}")
    print(f"bf16 from f32, means of {WINDOW} steps: at most {drift:.3%} (bound {BF16_BOUND:.3%}): "
          f"{verdict[drift <= BF16_BOUND]}")
    return 0 if repeats and share <= 1 and drift <= BF16_BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
