#!/usr/bin/env python3
"""The layer rule of docs/style.md as code: names every include that goes up or sideways.

Also counts preprocessor conditionals outside the files that are allowed to have them (rule 9) and
includes that are not root-relative.
"""

import pathlib
import re
import subprocess
import sys

LOW = ["src/base"]
CORE = LOW + ["src/core"]
KERNELS = CORE + ["kernels"]
MODEL = KERNELS + ["src/model"]
CHECKPOINTS = MODEL + ["checkpoints"]
DATA = CORE + ["data"]
DECODE = CHECKPOINTS + ["src/decode", "data/tokenizer.h", "data/batch.h", "data/chat"]
EVERYTHING = ["src", "kernels", "data", "checkpoints", "train"]

# module: what it may include besides itself; the longest matching prefix of a path is its module
MAY = {
    "src/base": LOW,
    "src/core": CORE,
    "kernels": KERNELS,
    "data": DATA,
    "src/model": MODEL,
    "checkpoints": CHECKPOINTS,
    "train": CHECKPOINTS + DATA,
    "src/decode": DECODE,
    "src/eval": DECODE + DATA,
    "src/study": MODEL + DATA,
    "src/report": LOW,
    "src/cli": EVERYTHING,
    "tests": EVERYTHING + ["tests"],
}
MAY_BRANCH = ("src/base/platform.h", "kernels/op.h", "tests/support/catch.h", "tests/support/main.cc",
              "tests/simt/fiber.cc")
ROOTS = tuple(sorted({name.split("/")[0] for name in MAY}))
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
BRANCH = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b")


def belongs(path, prefix):
    return path == prefix or path.startswith(prefix + "/")


def module_of(path):
    found = [name for name in MAY if belongs(path, name)]
    return max(found, key=len) if found else None


def problems(root, path):
    module = module_of(path)
    if module is None:
        return
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if BRANCH.match(line) and path not in MAY_BRANCH:
            yield f"{where}: a preprocessor conditional (docs/style.md, rule 9)"
        match = INCLUDE.match(line)
        if match is None or match[1] == "build_info.h":
            continue
        target = match[1]
        if not target.startswith(ROOTS) or ".." in target:
            yield f'{where}: "{target}" is not relative to the root of the tree'
        elif not any(belongs(target, allowed) for allowed in MAY[module] + [module]):
            yield f'{where}: {module} must not include "{target}"'


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True).stdout.split("\n")
    sources = [p for p in listed if p.endswith((".h", ".cc", ".cu", ".cuh")) and (root / p).exists()]
    found = [text for path in sorted(set(sources)) for text in problems(root, path)]
    print("\n".join(found) if found else f"includes: {len(sources)} files keep to their layers")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
