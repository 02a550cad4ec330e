#!/usr/bin/env python3
"""Lines per module; fails on a file above the limit and on artefacts that do not belong in the tree."""

import collections
import pathlib
import subprocess
import sys

LONGEST_FILE = 600  # docs/style.md, rule 12
SAMPLES_BYTES = 300 * 1024
CORPUS_BYTES = 50 * 1024
SOURCES = (".h", ".cc", ".cu", ".cuh", ".py", ".sh")
ARTEFACTS = (".h5", ".hdf5", ".safetensors", ".gguf", ".pt", ".bin")
MODULES = ("src/base", "src/core", "src/model", "src/decode", "src/eval", "src/study", "src/report", "src/cli",
           "kernels", "data", "checkpoints", "train", "scripts", "tests")


def module_of(path):
    found = [name for name in MODULES if path.startswith(name + "/")]
    return max(found, key=len) if found else "other"


def total_bytes(root, files, folder):
    return sum((root / p).stat().st_size for p in files if p.startswith(folder + "/"))


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True,
                            text=True).stdout.splitlines()
    files = [p for p in listed if (root / p).is_file()]
    problems = []
    count = collections.Counter()
    lines = collections.Counter()
    longest = {}
    for path in files:
        if path.endswith(ARTEFACTS) and not path.startswith("tests/golden/"):
            problems.append(f"{path}: an artefact; only tests/golden may hold such files")
        if not path.endswith(SOURCES):
            continue
        n = len((root / path).read_text(encoding="utf-8").splitlines())
        module = module_of(path)
        count[module] += 1
        lines[module] += n
        longest[module] = max(longest.get(module, (0, "")), (n, path))
        if n > LONGEST_FILE:
            problems.append(f"{path}: {n} lines, {LONGEST_FILE} are the limit: split it by job")
    for folder, limit in (("data/samples", SAMPLES_BYTES), ("tests/fuzz/corpus", CORPUS_BYTES)):
        size = total_bytes(root, files, folder)
        if size > limit:
            problems.append(f"{folder}: {size} bytes, {limit} are the limit")

    print(f"{'module':<12} {'files':>6} {'lines':>7}  longest")
    for module in sorted(lines, key=lines.get, reverse=True):
        n, path = longest[module]
        print(f"{module:<12} {count[module]:>6} {lines[module]:>7}  {path} ({n})")
    print(f"{'total':<12} {sum(count.values()):>6} {sum(lines.values()):>7}")
    print("\n".join(problems) if problems else "size: within the limits")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
