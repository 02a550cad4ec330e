#!/usr/bin/env bash
# Builds Pivot for this machine's GPU, runs all tests on CPU and GPU, the kernels under compute-sanitizer, and the
# benchmarks.
#   scripts/gpu_check.sh [--quick] [--only PHASE[,PHASE...]] [--build DIR] [--no-build DIR] [--jobs N] [--out DIR]
# Phases: build cpu gpu sanitize bench; --quick stops after gpu. --no-build takes a build made elsewhere for this tree's
# path (there with -DPIVOT_MARCH=x86-64-v3). Writes log.txt, results.json, summary.txt and the benchmarks' JSON to --out
# (PIVOT_OUT or runs/gpu_check). Exit code 0 only if everything ran and passed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=lib/gpu.sh
. scripts/lib/gpu.sh

build=build-gpu
compile=yes
phases=" build cpu gpu sanitize bench "
jobs=$(nproc)
out=${PIVOT_OUT:-runs/gpu_check}
usage() { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) phases=" build cpu gpu " ;;
    --only) phases=" ${2:?} "; phases=${phases//,/ }; shift ;;
    --build) build=${2:?}; shift ;;
    --no-build) build=${2:?} compile=no; shift ;;
    --jobs) jobs=${2:?}; shift ;;
    --out) out=${2:?}; shift ;;
    *) usage ;;
  esac
  shift
done
for phase in $phases; do
  case "$phase" in build | cpu | gpu | sanitize | bench) ;; *) echo "gpu_check: no phase '$phase'" >&2; usage ;; esac
done
mkdir -p "$out" && : >"$out/log.txt" && : >"$out/rows.txt" || exit 1
started=$SECONDS
failures=0

# record PHASE NAME RESULT SECONDS: pass, skip, or anything else, which is a failure.
record() {
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$out/rows.txt"
  case "$3" in
    pass | skip) ;;
    *) failures=$((failures + 1)); echo "gpu_check: $1: $2: $3" ;;
  esac
}

# run PHASE NAME LIMIT COMMAND...: its output goes to the log.
run() {
  local phase=$1 name=$2 limit=$3 begin=$SECONDS status result
  shift 3
  printf '\n== %s: %s: %s\n' "$phase" "$name" "$*" >>"$out/log.txt"
  timeout --kill-after=10 "$limit" "$@" >>"$out/log.txt" 2>&1
  status=$?
  case $status in 0) result=pass ;; 124 | 137) result="longer than $limit s" ;; *) result="exit code $status" ;; esac
  record "$phase" "$name" "$result" $((SECONDS - begin))
  return $status
}

wants() { [[ $phases == *" $1 "* ]]; }

# python_folder PACKAGE: a folder of NVIDIA's Python packages (those of PyTorch bring cuDNN).
python_folder() {
  command -v python3 >/dev/null || return 0
  python3 -c 'import os, site, sys
for d in site.getsitepackages() + [site.getusersitepackages()] + sys.path:
    p = os.path.join(d, "nvidia", sys.argv[1])
    if os.path.isdir(p):
        print(p)
        break' "$1" 2>/dev/null
}

# The headers that every build needs, from the distribution or from scripts/gpu_deps.sh.
provide_libraries() {
  echo '#include <nlohmann/json.hpp>' | g++ -E -x c++ - >/dev/null 2>&1 && return 0
  [ -e .deps/sysroot.tar.gz ] && run build libraries 300 scripts/gpu_deps.sh install && return 0
  echo "gpu_check: the libraries of scripts/packages.sh are missing; install them, or bring .deps/sysroot.tar.gz" \
    "(scripts/gpu_deps.sh)"
  record build libraries missing 0
  return 1
}

cmake_options() {
  local toolkit cudnn header
  toolkit=$(dirname "$(dirname "$(readlink -f "$NVCC")")")
  printf '%s\n' -DPIVOT_CUDA=ON "-DPIVOT_CUDA_ARCHS=$GPU_ARCH" "-DCUDAToolkit_ROOT=$toolkit" -DCMAKE_BUILD_TYPE=Release
  [ -e "$toolkit/include/cudnn.h" ] && return
  cudnn=$(python_folder cudnn)
  for header in "$cudnn/include/cudnn.h" /usr/include/cudnn.h; do
    [ -n "$cudnn" ] && [ -e "$header" ] && printf '%s\n' "-DCUDNN_ROOT=$cudnn" && return
  done
  echo "gpu_check: no cuDNN (neither in $toolkit nor in Python's packages): built without it" >&2
}

build_all() {
  provide_libraries || return 1
  [ -e .deps/cudnn-frontend/include/cudnn_frontend.h ] ||
    run build headers 120 scripts/cuda_headers.sh || record build "cuDNN's headers" skip 0
  local options
  mapfile -t options < <(cmake_options)
  run build configure 300 cmake -S . -B "$build" -G Ninja "${options[@]}" &&
    run build compile 3000 ninja -C "$build" -j "$jobs"
}

# tests PHASE JOBS CTEST-OPTION...: every test is a row; on this machine nothing may be skipped.
tests() {
  local phase=$1 parallel=$2
  shift 2
  printf '\n== %s tests\n' "$phase" >>"$out/log.txt"
  ctest --test-dir "$build" -j "$parallel" --timeout 600 --output-on-failure "$@" >"$out/$phase.txt" 2>&1
  cat "$out/$phase.txt" >>"$out/log.txt"
  local found=0 name result seconds
  while IFS=$'\t' read -r name result seconds; do
    found=$((found + 1))
    record "$phase" "$name" "$result" "$seconds"
  done < <(awk '/^ *[0-9]+\/[0-9]+ Test +#/ {
      sub(/^.*Test +#[0-9]+: /, ""); name = $1; seconds = $(NF - 1); result = "failed"
      if ($0 ~ / Passed /) result = "pass"; if ($0 ~ /\*\*\*Skipped/) result = "was skipped"
      if ($0 ~ /\*\*\*Timeout/) result = "timed out"; print name "\t" result "\t" seconds }' "$out/$phase.txt")
  rm -f "$out/$phase.txt"
  [ $found -gt 0 ] || record "$phase" "all tests" "no tests found" 0
}

# The cases tagged [sanitize] of every test program, under memcheck and racecheck, some at a time: they launch every
# kernel of Pivot with small inputs. Programs without such cases run libraries' kernels only.
sanitize() {
  local tool program name sanitizer dir=$out/sanitize
  sanitizer=$(command -v compute-sanitizer || echo "$(dirname "$NVCC")/compute-sanitizer")
  if [ ! -x "$sanitizer" ]; then
    echo "gpu_check: sanitize: the toolkit has no compute-sanitizer"
    record sanitize compute-sanitizer skip 0
    return
  fi
  mkdir -p "$dir"
  for program in $(find "$build/tests" -name 'gpu_*' -type f -perm -u+x | sort); do
    [[ $("$program" --list-tests '[sanitize]' 2>/dev/null) == *"[sanitize]"* ]] || continue
    for tool in memcheck racecheck; do
      while [ "$(jobs -rp | wc -l)" -ge 8 ]; do wait -n; done
      sanitize_one "$tool" "$program" "$dir" &
    done
  done
  wait
  local result seconds
  for program in "$dir"/*.result; do
    name=$(basename "$program" .result)
    read -r seconds result <"$program"
    record sanitize "$name" "$result" "$seconds"
    printf '\n== sanitize: %s\n' "$name" >>"$out/log.txt"
    cat "$dir/$name.txt" >>"$out/log.txt"
  done
  rm -rf "$dir"
}
# sanitize_one TOOL PROGRAM DIR: leaves DIR/NAME.txt and DIR/NAME.result, seconds and what came of it.
sanitize_one() {
  local name begin=$SECONDS status result
  name="$(basename "$2")-$1"
  timeout --kill-after=10 300 "$sanitizer" --tool "$1" --error-exitcode 9 "$2" '[sanitize]' >"$3/$name.txt" 2>&1
  status=$?
  case $status in 0) result=pass ;; 124 | 137) result="longer than 300 s" ;; *) result="exit code $status" ;; esac
  echo "$((SECONDS - begin)) $result" >"$3/$name.result"
}

benches() {
  local pivot=$build/pivot model=(--model.layers 12 --model.dim 768 --model.heads 12 --model.kv-heads 12
    --model.head-dim 64 --model.ffn-dim 2048 --model.vocab 50304)
  bench() { local name=$1; shift; run bench "$name" 300 "$pivot" bench "$@" --device cuda --json "$out/bench_$name.json"; }
  bench gemm gemm
  bench op op --n 32768 --c 768 --heads 12 --kv-heads 12 --f 2048 --v 4096 --i 768 --o 768 --p 4000000 --seconds 0.2
  bench attention_4k attention --heads 32 --kv-heads 8 --head-dim 128 --length 4096 --attn dense --attn topk:1%
  bench attention_32k attention --heads 32 --kv-heads 8 --head-dim 128 --length 32768 --attn dense --attn topk:1%
  bench decode_128k decode --heads 32 --kv-heads 8 --head-dim 128 --context 131072 --attn dense --attn topk:1%
  bench decode_32k decode --heads 32 --kv-heads 8 --head-dim 128 --context 32768 --attn dense --attn topk:1%
  bench train_162m train "${model[@]}" --rows 32 --seq-len 1024 --attn dense --attn topk:1%
  bench train_162m_8k train "${model[@]}" --model.context 8192 --rows 4 --seq-len 8192 --attn dense --attn topk:1%
  bench train_162m_8k_any train "${model[@]}" --model.context 8192 --rows 4 --seq-len 8192 --deterministic false
}

# finish: results.json and summary.txt from the rows.
finish() {
  local gpu commit
  gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
  commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
  awk -F'\t' -v gpu="$gpu" -v commit="$commit" '
    function quoted(s) { gsub(/\\/, "\\\\", s); gsub(/"/, "\\\"", s); return "\"" s "\"" }
    BEGIN { printf "{\n  \"gpu\": %s,\n  \"commit\": %s,\n  \"rows\": [", quoted(gpu), quoted(commit) }
    { if (NR > 1) printf ","
      printf "\n    {\"phase\": %s, \"name\": %s, \"result\": %s, \"seconds\": %.2f}", quoted($1), quoted($2),
        quoted($3), $4 }
    END { print "\n  ]\n}" }' "$out/rows.txt" >"$out/results.json"
  {
    awk -F'\t' '{ fine = $3 == "pass" || $3 == "skip"; word = $3 == "pass" ? "ok" : (fine ? "skip" : "FAIL")
      printf "%-5s %-9s %-44s %8s s  %s\n", word, $1, $2, $4, (fine ? "" : $3) }' "$out/rows.txt"
    awk -F'\t' '{ n[$1]++; if ($3 == "pass") good[$1]++; if (!($1 in order)) { order[$1] = ++k; name[k] = $1 } }
      END { for (i = 1; i <= k; ++i) printf "%s: %d of %d passed\n", name[i], good[name[i]], n[name[i]] }' "$out/rows.txt"
    cat "$out/phases.txt" 2>/dev/null
    echo "gpu_check: $gpu, commit $commit: $failures failures, $((SECONDS - started)) s; log in $out/log.txt"
  } >"$out/summary.txt"
  rm -f "$out/rows.txt" "$out/phases.txt"
  cat "$out/summary.txt"
  [ "$failures" -eq 0 ]
}

# phase NAME COMMAND...: if it was asked for.
phase() {
  local name=$1 begin=$SECONDS status
  shift
  wants "$name" || return 0
  echo "gpu_check: $name"
  "$@"
  status=$?
  echo "seconds in $name: $((SECONDS - begin))" >>"$out/phases.txt"
  return $status
}

rm -f "$out/phases.txt"
if ! find_gpu; then
  record build GPU "$NO_GPU" 0
  finish
  exit 1
fi
if [ $compile = yes ]; then
  phase build build_all || { finish; exit 1; }
elif [ "$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt" 2>/dev/null)" != "$PWD" ]; then
  record build "$build" "not a build of $PWD" 0
  finish
  exit 1
else
  provide_libraries || { finish; exit 1; }
fi
[ -e "$build/CTestTestfile.cmake" ] || { record build "$build" "not built yet" 0; finish; exit 1; }
phase cpu tests cpu "$jobs" -LE gpu
phase gpu tests gpu 2 -L gpu
phase sanitize sanitize
phase bench benches
finish
