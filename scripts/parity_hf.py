#!/usr/bin/env python3
"""Pivot beside transformers: logits, greedy text, gradients, export and conversion, by family.

    python3 scripts/parity_hf.py                                      # small random models of every family, 3 minutes
    python3 scripts/parity_hf.py --real SmolLM2-135M-Instruct.Q4_1.gguf   # and a real one, 10 minutes more on 2 cores
    python3 scripts/parity_hf.py --only qwen3 --keep /tmp/models      # one case, its files kept

Needs build/pivot and the packages torch, transformers, tokenizers, safetensors and gguf; runs on the CPU, opens no
connection. Prints one line per comparison, writes parity.json and, with --page, the table; exit 1 when a bound is broken.
"""
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPARSE = ["topk:10%,min=4", "topk:k=7"]
REAL_SPARSE = ["topk:5%,min=16"]
PROMPT = "The quick brown fox jumps over the lazy dog, again and again."
CHATS = [
    [{"role": "user", "content": "What is the capital of France, and what is it known for?"}],
    [{"role": "user", "content": "Write a long story about a lighthouse keeper, with many details."}],
    [{"role": "system", "content": "You answer in one short sentence."},
     {"role": "user", "content": "Why is the sky blue?"},
     {"role": "assistant", "content": "Because air scatters blue light more than red light."},
     {"role": "user", "content": "And why is it red in the evening?"}],
    [{"role": "user", "content": "Erzähle eine kurze Geschichte über einen Bären. \U0001f43b"}],
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pivot", default=os.path.join(ROOT, "build", "pivot"))
    parser.add_argument("--real", default="", help="a GGUF file that transformers reads, in addition")
    parser.add_argument("--only", default=None, help="cases whose name contains this; '' with --real: the real one alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1, help="of random weights and tokens")
    parser.add_argument("--keep", default="", help="directory for the models; removed at the end by default")
    parser.add_argument("--json", default="", help="write the results to this file")
    parser.add_argument("--page", default="", help="put the tables between the marks of this Markdown file")
    return parser.parse_args()


def small_case(table, pivot, name, seed, work):
    import torch

    import parity_checks as checks
    import parity_models
    model = parity_models.save_case(name, work + "/hf", seed)
    path = work + "/hf"
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(parity_models.VOCAB - 1, (200,), generator=generator)
    batch = checks.sft_batch(ids, [70, 71, 200], generator)

    table.attempt(name, "logits", lambda: checks.logits(table, name, pivot, path, model, ids))
    table.attempt(name, "greedy", lambda: checks.greedy(table, name, pivot, path, model,
                                                        parity_models.load_tokenizer(path), PROMPT))
    for spec in ["dense", *SPARSE]:
        table.attempt(name, f"gradients, {spec}",
                      lambda spec=spec: checks.gradients(table, name, pivot, path, model, batch, spec))
    table.attempt(name, "export --to hf", lambda: checks.export_hf(table, name, pivot, path, model, ids, work))
    table.attempt(name, "convert", lambda: checks.convert(table, name, pivot, path, "hf", ids, work))
    table.attempt(name, "export --to gguf", lambda: checks.export_gguf(table, name, pivot, path, model, ids, work))


def real_case(table, pivot, gguf, work):
    import torch

    import parity_checks as checks
    import parity_models
    name = os.path.basename(gguf).removesuffix(".gguf")
    folder, file = os.path.split(os.path.abspath(gguf))
    model, tokenizer = parity_models.load(folder, file), parity_models.load_tokenizer(folder, file)
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in CHATS]
    # The batch of fine-tuning: the chats with transformers' own greedy answers.
    documents = []
    for text in texts[:3]:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            documents.append(model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60,
                                            do_sample=False)[0])
    ids = torch.cat(documents)
    ends = torch.tensor([len(d) for d in documents]).cumsum(0).tolist()
    batch = checks.sft_batch(ids, ends, torch.Generator().manual_seed(1))

    table.attempt(name, "logits", lambda: checks.logits(table, name, pivot, gguf, model, ids))
    for text in texts:
        table.attempt(name, "greedy", lambda text=text: checks.greedy(table, name, pivot, gguf, model, tokenizer, text))
    for spec in ["dense", *REAL_SPARSE]:
        table.attempt(name, f"gradients, {spec}",
                      lambda spec=spec: checks.gradients(table, name, pivot, gguf, model, batch, spec))
    table.attempt(name, "export --to hf", lambda: checks.export_hf(table, name, pivot, gguf, model, ids, work))
    table.attempt(name, "convert", lambda: checks.convert(table, name, pivot, gguf, "gguf", ids, work))
    table.attempt(name, "export --to gguf", lambda: checks.export_gguf(table, name, pivot, gguf, model, ids, work))
    table.attempt(name, "export --to gguf --dtype q8_0", lambda: checks.export_q8(table, name, pivot, gguf, ids, work))


def versions(pivot):
    import torch
    import transformers
    text = subprocess.run([pivot, "--version"], capture_output=True, text=True).stdout.strip()
    return dict(pivot=text, torch=torch.__version__, transformers=transformers.__version__,
                python=platform.python_version(), date=time.strftime("%Y-%m-%d"))


def page(rows, facts):
    lines = [f"{facts['pivot']}; PyTorch {facts['torch']}, transformers {facts['transformers']}; {facts['date']}.", ""]
    for case in dict.fromkeys(row["case"] for row in rows):
        lines += [f"### {case}", "", "| comparison | measured | bound | holds | |", "|---|---|---|---|---|"]
        for row in rows:
            if row["case"] == case:
                lines.append(f"| {row['check']} | {row['value']} | {row['bound']} | {'yes' if row['holds'] else '**no**'} "
                             f"| {row['note']} |")
        lines.append("")
    return "\n".join(lines)


def main():
    args = arguments()
    if not os.access(args.pivot, os.X_OK):
        sys.exit(f"parity_hf: {args.pivot} is missing: build it first, or name it with --pivot")
    try:
        import torch
        import transformers
        import parity_checks
        import parity_models
    except ImportError as error:
        sys.exit(f"parity_hf: {error}: pip install torch transformers tokenizers safetensors gguf")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pivot = parity_checks.Pivot(args.pivot, args.threads)
    table = parity_checks.Table()
    work = args.keep or tempfile.mkdtemp(prefix="parity-")
    try:
        for number, name in enumerate(parity_models.CASES):
            if args.only is None or (args.only and args.only in name):
                folder = os.path.join(work, f"case{number}")
                os.makedirs(folder, exist_ok=True)
                small_case(table, pivot, name, args.seed + number, folder)
        if args.real:
            folder = os.path.join(work, "real")
            os.makedirs(folder, exist_ok=True)
            real_case(table, pivot, args.real, folder)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    facts = versions(args.pivot)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(dict(versions=facts, rows=table.rows), file, indent=1)
            file.write("\n")
    if args.page:
        import pages
        pages.between_marks(args.page, "results", page(table.rows, facts))
    broken = [row for row in table.rows if not row["holds"]]
    print(f"parity_hf: {len(table.rows)} comparisons, {len(broken)} broken")
    sys.exit(1 if broken or not table.rows else 0)


if __name__ == "__main__":
    main()
