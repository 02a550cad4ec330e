#!/usr/bin/env python3
"""Blocks of every GGUF type that Pivot reads, decoded by the reference, as test data.

  scripts/gguf_blocks.py            writes tests/checkpoints/gguf_blocks.txt
  scripts/gguf_blocks.py --check    compares that file with what the installed package gives

Needs the Python packages gguf (the reference: gguf-py of llama.cpp) and numpy; tests need neither.
A line is "decode TYPE BLOCKS FLOATS" or "encode TYPE FLOATS BLOCKS", all in hexadecimal.
"""

import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/checkpoints/gguf_blocks.txt"
BLOCKS = 2
# Where a block holds F16 scales: random bits there must not be infinite or NaN.
HALVES = {Type.F16: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q8_0: [0], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
          Type.Q6_K: [208]}
FLOATS = (Type.F16, Type.BF16)


def hexadecimal(array):
    return np.ascontiguousarray(array).view(np.uint8).tobytes().hex()


def random_blocks(rng, kind, blocks):
    data = rng.integers(0, 256, (blocks, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for at in HALVES.get(kind, []):
        half = data[:, at:at + 2].copy().view(np.uint16)
        half[(half & 0x7C00) == 0x7C00] &= 0x83FF
        data[:, at:at + 2] = half.view(np.uint8)
    if kind == Type.BF16:
        data[:, 1] &= 0xBF
    return data


def lines():
    rng = np.random.default_rng(20)
    for kind in (*FLOATS, Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K):
        blocks = random_blocks(rng, kind, 32 if kind in FLOATS else BLOCKS)
        values = dequantize(blocks, kind).astype(np.float32)
        yield f"decode {kind.name} {hexadecimal(blocks)} {hexadecimal(values)}"
    for scale in (1e-42, 1e-30, 1e-6, 1.0, 3e4):
        values = (rng.standard_normal((4, 32)) * scale).astype(np.float32)
        values[0, :3] = (0.0, -0.0, scale)
        values[1] = 0
        values[2] = np.arange(-16, 16) * np.float32(0.5 * scale)  # halves after scaling: ties
        values[2, 0] = 127 * scale if scale < 1e4 else values[2, 0]
        for kind in (Type.F16, Type.BF16, Type.Q8_0):
            fits = np.clip(values, -6.5e4, 6.5e4) if kind == Type.F16 else values
            with np.errstate(all="ignore"):
                blocks = np.asarray(quantize(fits.astype(np.float32), kind))
            yield f"encode {kind.name} {hexadecimal(fits.astype(np.float32))} {hexadecimal(blocks)}"


def main():
    text = "\n".join(lines()) + "\n"
    if "--check" in sys.argv:
        same = OUT.read_text(encoding="ascii") == text
        print("gguf_blocks: as the reference" if same else "gguf_blocks: DIFFERS from the reference")
        return 0 if same else 1
    OUT.write_text(text, encoding="ascii")
    print(f"{OUT}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
