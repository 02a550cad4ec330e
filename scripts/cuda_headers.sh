#!/usr/bin/env bash
# Puts the headers of NVIDIA's cudnn-frontend into .deps/cudnn-frontend/include, where CMake finds
# them: with them, and with cuDNN 9 (of the CUDA toolkit, or CUDNN_ROOT), dense attention runs on
# cuDNN. They are headers only and MIT licensed; they come with the Python package
# nvidia-cudnn-frontend, installed or else downloaded.
#   scripts/cuda_headers.sh [--force]
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGE=nvidia-cudnn-frontend
VERSION=1.32.0 # what kernels/attention/cuda/cudnn_graph.cc was written for
TARGET=.deps/cudnn-frontend/include

if [ -e $TARGET/cudnn_frontend.h ] && [ "${1:-}" != --force ]; then
  echo "cudnn-frontend: $TARGET is there (--force fetches it again)"
  exit 0
fi
if ! command -v python3 >/dev/null; then
  echo "cudnn-frontend: python3 is missing; copy the headers' folder to $TARGET by hand" >&2
  exit 1
fi

# take DIR: the folder that holds cudnn_frontend.h becomes the target.
take() {
  local found
  found=$(find "$1" -name cudnn_frontend.h -not -path '*/dist-info/*' 2>/dev/null | head -n 1)
  [ -n "$found" ] || return 1
  rm -rf "$TARGET"
  mkdir -p "$TARGET"
  (cd "$(dirname "$found")" && tar -cf - cudnn_frontend* cudnn_backend_base.h) | tar -xf - -C "$TARGET"
}

version_of() {
  awk '$2 ~ /^CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION$/ { v = v (v ? "." : "") $3 } END { print v }' \
    "$TARGET/cudnn_frontend_version.h"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
installed=$(python3 - <<'PY'
import importlib.metadata as metadata
try:
    package = metadata.distribution("nvidia-cudnn-frontend")
except metadata.PackageNotFoundError:
    raise SystemExit
for file in package.files or []:
    if file.name == "cudnn_frontend.h":
        print(file.locate().resolve().parent)
PY
)
if [ -n "$installed" ] && take "$installed"; then
  echo "cudnn-frontend: $(version_of) from the installed package"
elif python3 -m pip download -q --no-deps -d "$work" "$PACKAGE==$VERSION" >"$work/log" 2>&1; then
  python3 -m zipfile -e "$work"/*.whl "$work/unpacked"
  take "$work/unpacked" || {
    echo "cudnn-frontend: the package $PACKAGE $VERSION has no cudnn_frontend.h" >&2
    exit 1
  }
  echo "cudnn-frontend: $(version_of), downloaded"
else
  tail -n 3 "$work/log" >&2
  echo "cudnn-frontend: not installed, and pip cannot download $PACKAGE $VERSION. Without it the build" \
    "has no cuDNN, and dense attention runs on Pivot's own kernel." >&2
  exit 1
fi
