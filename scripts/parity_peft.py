#!/usr/bin/env python3
"""Adapters beside PEFT: a run with lora.rank on a small Hugging Face model, exported and loaded by PEFT.

    python3 scripts/parity_peft.py            # about a minute

Logits of PEFT's model (base + adapter), of the run's checkpoint in Pivot and of the checkpoint exported to Hugging Face
must agree, and the merge PEFT makes must give the checkpoint's weights. Needs build/pivot and torch, transformers,
tokenizers, peft and safetensors; runs on the CPU, opens no connection. Exit 1 when a bound is broken.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASES = ["SmolLM2-like", "qwen2, bias, 8/1"]  # of lib/parity_models.py, by the beginning of their names
TARGETS = {"all": "all", "some": "q_proj,v_proj,down_proj"}
BOUND = 5e-5  # fp32 logits of order 1 to 10, two libraries, up to six layers (measured: 1e-5)


def corpus(path):
    words = "a fine day for trains and boats in the early rain of spring".split()
    generator = random.Random(1)
    with open(path, "w") as file:
        for _ in range(400):
            file.write(" ".join(generator.choices(words, k=40)) + ".\n\n")


def check(pivot, name, targets, work):
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    import parity_models
    base = f"{work}/base"
    parity_models.save_case(name, base, 1)
    corpus(f"{work}/text.txt")
    pivot("data", "build", "--input", f"{work}/text.txt", "--tokenizer", base, "--out", f"{work}/data",
          "--eos", "false", compute=False)
    pivot("train", f"init={base}", f"data.train={work}/data/train", f"output={work}/run", "steps=20", "data.seq_len=64",
          "batch.tokens=512", "lora.rank=4", f"lora.targets={targets}", "optim.lr=1e-2", "attention.spec=dense")
    pivot.export("peft", f"{work}/run", f"{work}/adapter")
    pivot.export("hf", f"{work}/run", f"{work}/merged")

    ids = torch.randint(parity_models.VOCAB - 1, (150,), generator=torch.Generator().manual_seed(2))
    ours = pivot.logits(f"{work}/run", ids)
    start = pivot.logits(base, ids)
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(load(base), f"{work}/adapter").eval()
    merged = load(f"{work}/merged").eval()
    with torch.no_grad():
        theirs, exported = adapted(ids[None]).logits[0], merged(ids[None]).logits[0]
    weights = merged.state_dict()
    worst_weight = max(float((w - weights[key]).abs().max())
                       for key, w in adapted.merge_and_unload().state_dict().items())
    rows = [("training moved the logits by", float((ours - start).abs().max()), None),
            ("PEFT beside Pivot, logits", float((theirs - ours).abs().max()), BOUND),
            ("transformers on the export beside Pivot, logits", float((exported - ours).abs().max()), BOUND),
            ("PEFT's merge beside the checkpoint, weights", worst_weight, 1e-6)]
    broken = 0
    for what, value, bound in rows:
        holds = value > 0.1 if bound is None else value <= bound
        broken += not holds
        limit = f" (bound {bound})" if bound else ""
        print(f"{'ok  ' if holds else 'FAIL'} {name}, {targets}: {what}: {value:.2e}{limit}")
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", default=os.path.join(ROOT, "build", "pivot"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", default="", help="directory for the files; removed at the end by default")
    args = parser.parse_args()
    import parity_checks
    import parity_models
    pivot = parity_checks.Pivot(args.pivot, args.threads)
    work = args.keep or tempfile.mkdtemp(prefix="parity-peft-")
    broken = 0
    try:
        for number, beginning in enumerate(CASES):
            name = next(case for case in parity_models.CASES if case.startswith(beginning))
            for kind, targets in TARGETS.items():
                folder = f"{work}/{number}-{kind}"
                os.makedirs(folder, exist_ok=True)
                broken += check(pivot, name, targets, folder)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
