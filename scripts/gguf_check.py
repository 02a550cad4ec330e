#!/usr/bin/env python3
"""Holds Pivot's GGUF code against transformers, the gguf package and, where it is installed, llama.cpp.

    python3 scripts/gguf_check.py MODEL.gguf --text FILE [--pivot build/pivot]

What must hold:
  1. every weight that Pivot reads (exported as a Hugging Face directory) equals transformers' own dequantisation;
  2. logits differ from transformers' fp64 ones by at most BOUND times as much as transformers' fp32 ones do: both round
     every product, in other orders;
  3. the tokenizer.json that Pivot makes gives llama.cpp's ids for FILE, cut into pieces of PIECE characters; the number
     of pieces where transformers' GGUF tokenizer differs is printed (docs/formats/gguf.md says why it does);
  4. exported as f32 and read by the gguf package, no weight has changed; as q8_0, every tensor has the bytes that the
     package's quantiser makes of the f32 one.
Needs torch, transformers, tokenizers, gguf and safetensors; xllamacpp (llama.cpp, prebuilt) for the llama.cpp part of 3.
Exit code 0 if all hold.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

BOUND = 4.0
PIECE = 1000


def pivot(args, *command):
    subprocess.run([args.pivot, *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def check_weights(args, work, model):
    pivot(args, "export", "--to", "hf", "--dtype", "f32", args.model, work / "hf")
    ours = load_file(work / "hf" / "model.safetensors")
    theirs = model.state_dict()
    differ = [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name].float())]
    print(f"weights: {len(ours)} tensors, {len(differ)} differ {differ[:3]}")
    return not differ


def check_logits(args, work, model, tokenizer, text):
    out = work / "logits.safetensors"
    ids = tokenizer.encode(text[:PIECE], add_special_tokens=False).ids
    (work / "ids.json").write_text(json.dumps(ids))
    pivot(args, "logits", "--model", args.model, "--ids", work / "ids.json", "--out", out, "--device", "cpu")
    ours = load_file(out)["logits"]
    with torch.no_grad():
        single = model(torch.tensor([ids])).logits[0]
        double = model.double()(torch.tensor([ids])).logits[0]
    mine = (ours - double).abs().max().item()
    other = (single - double).abs().max().item()
    print(f"logits: {len(ids)} tokens, off fp64 by {mine:.2e} (transformers fp32: {other:.2e})")
    return mine <= BOUND * other


def llama_cpp_tokenizer(path):
    try:
        import xllamacpp
    except ImportError:
        return None
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup = str(path), 512, False
    server = xllamacpp.Server(params)

    def encode(text):
        body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
        request = urllib.request.Request(server.listening_address + "/tokenize", body,
                                         {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())["tokens"]

    return encode


def check_tokenizer(args, tokenizer, text):
    pieces = [text[i:i + PIECE] for i in range(0, len(text), PIECE)]
    ids = [tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces]
    path = pathlib.Path(args.model)
    other = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    differ = sum(a != other(piece, add_special_tokens=False)["input_ids"] for a, piece in zip(ids, pieces))
    encode = llama_cpp_tokenizer(args.model)
    if encode is None:
        print(f"tokenizer: {len(pieces)} pieces; transformers differs in {differ}; llama.cpp is not installed")
        return True
    wrong = sum(a != encode(piece) for a, piece in zip(ids, pieces))
    print(f"tokenizer: {len(pieces)} pieces; llama.cpp differs in {wrong}, transformers in {differ}")
    return wrong == 0


def values(tensor):
    return gguf.quants.dequantize(tensor.data, tensor.tensor_type)


def check_export(args, work):
    original = {t.name: t for t in gguf.GGUFReader(args.model).tensors}
    for dtype in ("f32", "q8_0"):
        pivot(args, "export", "--to", "gguf", "--dtype", dtype, args.model, work / f"{dtype}.gguf")
    single = {t.name: t for t in gguf.GGUFReader(work / "f32.gguf").tensors}
    blocks = {t.name: t for t in gguf.GGUFReader(work / "q8_0.gguf").tensors}
    changed = [n for n, t in original.items() if not np.array_equal(values(t), single[n].data)]
    wrong = [n for n, t in blocks.items()
             if not np.array_equal(gguf.quants.quantize(np.array(single[n].data), t.tensor_type), t.data)]
    print(f"export: {len(single)} tensors, {len(changed)} changed in f32, {len(wrong)} unlike the package's q8_0")
    return set(single) == set(original) and not changed and not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", required=True, help="a UTF-8 text")
    parser.add_argument("--pivot", default="build/pivot")
    args = parser.parse_args()
    path = pathlib.Path(args.model)
    with open(args.text, encoding="utf-8", newline="") as file:
        text = file.read()
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        good = check_weights(args, work, model)
        tokenizer = Tokenizer.from_file(str(work / "hf" / "tokenizer.json"))
        good &= check_logits(args, work, model, tokenizer, text)
        good &= check_tokenizer(args, tokenizer, text)
        good &= check_export(args, work)
    print("gguf_check: all hold" if good else "gguf_check: FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
