#!/usr/bin/env bash
# Installs what the tests need, builds everything and runs every check and test.
#   scripts/test.sh [--no-install] [--build DIR] [CMAKE OPTION...]
# On a fresh Debian 12/13 or Ubuntu 24.04, as root or with sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

install=yes
build=build
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    --no-install) install=no ;;
    --build) build=$2; shift ;;
    -D*) options+=("$1") ;;
    *) echo "usage: scripts/test.sh [--no-install] [--build DIR] [-DOPTION=VALUE...]" >&2; exit 2 ;;
  esac
  shift
done

step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

step packages
[ "$install" = no ] || install_packages "${PIVOT_BUILD_PACKAGES[@]}" "${PIVOT_TEST_PACKAGES[@]}"

step "layers, sizes, format"
# In an unpacked archive there is no list of tracked files to check.
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  python3 scripts/check_includes.py
  python3 scripts/size.py
  scripts/format.sh --check
fi

step build
command -v ccache >/dev/null && options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${options[@]}" >"$build.log" 2>&1 ||
  { cat "$build.log"; exit 1; }
rm -f "$build.log"
ninja -C "$build"

step tests
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" 2>&1 | tee "$build/ctest.log"
