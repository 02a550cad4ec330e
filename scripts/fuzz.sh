#!/usr/bin/env bash
# Builds the fuzzers with clang and runs each for a while under the address and undefined-behaviour
# sanitizers. Findings are left in build-fuzz/findings; reduced ones belong in tests/fuzz/corpus/TARGET.
#   scripts/fuzz.sh [SECONDS EACH] [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -gt 0 ] && shift
if ! command -v clang++ >/dev/null; then
  echo "fuzz: clang++ is not here (Debian: apt-get install clang)" >&2
  exit 1
fi

build=build-fuzz
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER=clang \
  -DCMAKE_CXX_COMPILER=clang++ -DPIVOT_FUZZ=ON -DPIVOT_CUDA=OFF \
  -DPIVOT_SANITIZE=address,undefined \
  -DCMAKE_CXX_FLAGS="-fsanitize=fuzzer-no-link -w" >/dev/null
ninja -C "$build" write_seeds >/dev/null
"$build/tests/fuzz/write_seeds" "$build/corpus" >"$build/targets"
[ $# -gt 0 ] || mapfile -t all <"$build/targets"
[ $# -gt 0 ] && all=("$@")

mkdir -p "$build/findings"
# libhdf5 leaks on its own error paths, which is not ours to find.
echo 'leak:libhdf5' >"$build/leaks-elsewhere"
export LSAN_OPTIONS="suppressions=$PWD/$build/leaks-elsewhere"
failed=()
for target in "${all[@]}"; do
  ninja -C "$build" "fuzz_$target" >/dev/null
  mkdir -p "$build/corpus/$target"
  known=tests/fuzz/corpus/$target
  [ -d "$known" ] || known=
  log="$build/findings/$target.log"
  if "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=65536 -timeout=20 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
    "$build/corpus/$target" $known >"$log" 2>&1; then
    printf '%-14s ok      %s inputs\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
  else
    printf '%-14s FINDING, see %s\n' "$target" "$log"
    failed+=("$target")
  fi
done
[ ${#failed[@]} -eq 0 ]
