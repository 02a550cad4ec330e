#!/usr/bin/env python3
"""Fine-tuning with dense and with native Top-k attention, side by side: trains, evaluates, plots.

    python3 scripts/sft_study.py --model SmolLM2-135M-Instruct.Q4_1.gguf --data work/data --out work/study
    python3 scripts/sft_study.py ... --arms "topk:1%" --seeds 1,2 --budget 540    # a part; results are added up
    python3 scripts/sft_study.py --out work/study --report docs/results/sft            # tables and figures of what is there

A unit is one arm with one seed: training, then evaluation; its OUT/ARM-seedN/result.json is what reports are made of, and
a unit that has one is not run again. "before" is the given model. --data is what sft_data.py wrote. Every model reads held-out
dialogues and answers about long texts with every arm's attention; questions are answered with dense attention and with
the model's own (models without one of their own: with every arm's). Runs on the CPU or one GPU.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
import pages
import sft_results

ROOT = pathlib.Path(__file__).parent.parent
ARMS = "dense;topk:1%;topk:2%;topk:5%"  # min=16 is the default of a spec


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", type=pathlib.Path, default=ROOT / "build" / "pivot")
    parser.add_argument("--model", default="", help="the model to start from")
    parser.add_argument("--data", type=pathlib.Path, help="directory that sft_data.py wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory of the study (with --report also an earlier sft.json)")
    parser.add_argument("--arms", default="before;" + ARMS, help=f"attention specs, separated by semicolons (before;{ARMS})".replace("%", "%%"))
    parser.add_argument("--seeds", default="1,2,3", help="of the order of the data")
    parser.add_argument("--steps", type=int, default=120, help="optimiser steps of a run")
    parser.add_argument("--tokens", type=int, default=65536, help="of a step")
    parser.add_argument("--seq-len", type=int, default=8192, help="tokens of a row")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="conversations and questions of each file; 0 is all")
    parser.add_argument("--questions", default="", help="only questions about texts of these lengths (1024,4096); empty: all there are")
    parser.add_argument("--batch", type=int, default=16, help="questions answered side by side")
    parser.add_argument("--budget", type=float, default=0, help="seconds: no unit begins that would probably end later; 0 is off")
    parser.add_argument("--keep-models", action="store_true", help="keep the trained checkpoints")
    parser.add_argument("--report", default="", help="only write DIR/sft.json, figures there, and the tables of DIR.md")
    parser.add_argument("extra", nargs="*", help="key=value words for every `pivot sft`")
    args = parser.parse_args()
    args.arms = [arm.strip() for arm in args.arms.split(";") if arm.strip()]
    args.specs = [arm for arm in ARMS.split(";")]
    args.specs += [arm for arm in args.arms if arm not in args.specs and arm != sft_results.BEFORE]
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    if not args.report and not (args.model and args.data):
        parser.error("--model and --data are needed (or --report)")
    return args


def pivot(args, log, *words):
    """Runs a command, its output in the file `log`; ends the study when it fails, showing the end of it."""
    command = [str(args.pivot), *map(str, words)]
    with open(log, "a") as file:
        file.write(" ".join(command) + "\n")
        file.flush()
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        tail = pathlib.Path(log).read_text().splitlines()[-15:]
        sys.exit(f"sft_study: failed ({done.returncode}): {' '.join(command)}\n" + "\n".join(tail))


def prepare(args):
    """The conversations as token shards, once for all runs."""
    shards = args.out / "data"
    mark = args.out / "data.seq_len"
    if mark.exists() and mark.read_text() == str(args.seq_len):
        return shards
    say("tokenising")
    pivot(args, args.out / "data.log", "data", "chat", "--input", args.data / "train.jsonl.zst", "--validation",
          f"{args.data / 'heldout.jsonl.zst'},{args.data / 'readings.jsonl.zst'}", "--model", args.model, "--context",
          args.seq_len, "--longer", "drop", "--out", shards, "--overwrite")
    mark.write_text(str(args.seq_len))
    return shards


def say(text):
    print(f"sft_study: {text}", file=sys.stderr, flush=True)


def train(args, shards, arm, seed, folder):
    pivot(args, folder / "log", "sft", "--model", args.model, f"data.train={shards / 'train'}",
          f"data.validation={shards / 'validation'}", f"output={folder / 'run'}", f"attention.spec={arm}", f"seed={seed}",
          "epochs=0", f"steps={args.steps}", f"batch.tokens={args.tokens}", f"data.seq_len={args.seq_len}",
          f"optim.lr={args.lr}", "optim.weight_decay=0", "checkpoint.every=100%", "checkpoint.keep=1", "sample.every=0",
          "validation.every=10%", "validation.tokens=262144", f"gemm_choices={args.out / 'gemm_choices.json'}",
          f"device={args.device}", f"threads={args.threads}", *args.extra)
    return sft_results.training_curve(folder / "run" / "metrics.jsonl")


def evaluate(args, model, own, folder):
    """Every file of the test; `own` is the model's attention, None for a model that has learnt no spec."""
    found = {}

    def take(name, wanted):
        found[name] = sft_results.evaluation(folder / f"{name}.json")
        if sorted(found[name]) != sorted(wanted):
            sys.exit(f"sft_study: asked for {wanted}, evaluated {sorted(found[name])}: write specs as pivot prints them")

    common = ["--model", model, "--device", args.device, "--threads", args.threads, "--limit", args.limit, "--seed", 1]
    for name in ("heldout", "readings"):
        specs = [word for spec in args.specs for word in ("--attn", spec)]
        pivot(args, folder / "log", "eval", *common, "--questions", args.data / f"{name}.jsonl.zst", "--task", "dialogues",
              *specs, "--json", folder / f"{name}.json", "--samples", folder / f"{name}.samples.jsonl")
        take(name, args.specs)
    wanted = args.specs if own in (None, "dense") else ["dense", own]
    specs = [word for spec in wanted for word in ("--attn", spec)]
    for path in sorted(args.data.glob("questions_*.jsonl.zst")):
        name = path.name.removesuffix(".jsonl.zst")
        if args.questions and name.removeprefix("questions_") not in args.questions.split(","):
            continue
        pivot(args, folder / "log", "eval", *common, "--questions", path, "--task", "answers", "--batch", args.batch, *specs,
              "--json", folder / f"{name}.json", "--samples", folder / f"{name}.samples.jsonl")
        take(name, wanted)
    return found


def name_of(arm, seed):
    plain = "".join(c if c.isalnum() else "_" for c in arm)
    return plain if arm == sft_results.BEFORE else f"{plain}-seed{seed}"


def run_unit(args, arm, seed):
    folder = args.out / name_of(arm, seed)
    begin = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # half a unit
    folder.mkdir(parents=True)
    result = dict(arm=arm, seed=seed, steps=args.steps, step_tokens=args.tokens, seq_len=args.seq_len, lr=args.lr,
                  date=time.strftime("%Y-%m-%d"), limit=args.limit)
    if arm == sft_results.BEFORE:
        result["evaluation"] = evaluate(args, args.model, None, folder)
    else:
        result["training"] = train(args, prepare(args), arm, seed, folder)
        result["evaluation"] = evaluate(args, folder / "run", arm, folder)
    version = subprocess.run([args.pivot, "--version"], capture_output=True, text=True).stdout.strip()
    result.update(pivot=version, seconds=round(time.monotonic() - begin, 1))
    text = json.dumps(result, indent=1) + "\n"
    (folder / "result.tmp").write_text(text)
    os.replace(folder / "result.tmp", folder / "result.json")
    if not args.keep_models:
        shutil.rmtree(folder / "run" / "checkpoints", ignore_errors=True)
    return result["seconds"]


def run_units(args):
    args.out.mkdir(parents=True, exist_ok=True)
    begin, longest = time.monotonic(), 0
    units = [(arm, seed) for seed in args.seeds for arm in args.arms if arm != sft_results.BEFORE or seed == args.seeds[0]]
    for arm, seed in units:
        if (args.out / name_of(arm, seed) / "result.json").exists():
            continue
        left = args.budget - (time.monotonic() - begin)
        if args.budget and longest > left:
            say(f"{left:.0f} s are left, a unit takes up to {longest:.0f} s: stopping; the same command goes on")
            return
        say(f"{arm}, seed {seed}")
        longest = max(longest, run_unit(args, arm, seed))
        say(f"{arm}, seed {seed}: done after {time.monotonic() - begin:.0f} s")


def report(args):
    folder = pathlib.Path(args.report)
    folder.mkdir(parents=True, exist_ok=True)
    results = sft_results.load(args.out)
    if not results:
        sys.exit(f"sft_study: {args.out} holds no finished unit")
    text = json.dumps(results, separators=(",", ":")).replace('},{"arm"', '},\n{"arm"')
    (folder / "sft.json").write_text(text + "\n")
    sft_results.plot_losses(results, folder / "loss.svg")
    for name, metric in sft_results.data_sets(results):
        sft_results.plot_native(results, name, metric, args.specs, folder / f"{name}.svg")
    page = folder.with_suffix(".md")
    if page.exists():
        pages.between_marks(page, "results", sft_results.tables(results, args.specs))
    else:
        print(sft_results.tables(results, args.specs))


def main():
    args = arguments()
    if args.report:
        report(args)
        return
    if not os.access(args.pivot, os.X_OK):
        sys.exit(f"sft_study: {args.pivot} is missing: build it first, or name it with --pivot")
    run_units(args)


if __name__ == "__main__":
    main()
