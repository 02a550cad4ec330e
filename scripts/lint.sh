#!/usr/bin/env bash
# clang-tidy with .clang-tidy, on the sources changed since a commit or on all of them.
#   scripts/lint.sh [--all | --since COMMIT] [--build DIR]
# Default: what differs from HEAD, or from HEAD~1 when nothing does.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build
since=
all=no
while [ $# -gt 0 ]; do
  case "$1" in
    --all) all=yes ;;
    --since) since=$2; shift ;;
    --build) build=$2; shift ;;
    *) echo "usage: scripts/lint.sh [--all | --since COMMIT] [--build DIR]" >&2; exit 2 ;;
  esac
  shift
done

if ! command -v clang-tidy >/dev/null; then
  echo "lint: clang-tidy is not here, nothing checked"
  exit 0
fi
if [ ! -f "$build/compile_commands.json" ]; then
  echo "lint: no $build/compile_commands.json; configure a build first (scripts/test.sh does)" >&2
  exit 2
fi

folders=(src train data checkpoints kernels)
if [ "$all" = yes ]; then
  mapfile -t files < <(git ls-files -- "${folders[@]}" | grep '\.cc$')
else
  if [ -z "$since" ]; then
    since=HEAD
    git diff --quiet HEAD -- "${folders[@]}" && since=HEAD~1
  fi
  mapfile -t files < <(git diff --name-only --diff-filter=d "$since" -- "${folders[@]}" |
    grep '\.cc$')
fi
# Only what the build compiles: clang-tidy guesses flags for anything else.
known=()
for file in "${files[@]}"; do
  grep -qF "\"file\": \"$PWD/$file\"" "$build/compile_commands.json" && known+=("$file")
done
if [ ${#known[@]} -eq 0 ]; then
  echo "lint: nothing to check"
  exit 0
fi
printf '%s\n' "${known[@]}" |
  xargs -P "$(nproc)" -n 1 timeout 300 clang-tidy --quiet \
    --extra-arg=-Wno-unknown-warning-option -p "$build" 2>/dev/null
echo "lint: ${#known[@]} files are clean"
