#!/usr/bin/env bash
# From a fresh Debian 12/13 or Ubuntu 24.04 to a trained, evaluated sparse model and a report: on an NVIDIA GPU
# where there is one with the CUDA toolkit, else on the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
. scripts/lib/json.sh
. scripts/lib/gpu.sh
. scripts/lib/dictionaries.sh
. scripts/lib/steps.sh

usage() {
  cat <<'END'
usage: scripts/quickstart.sh [options] [key=value ...]

Installs packages, builds build/pivot, trains a small model with Top-k attention on real text and generated
retrieval tasks, evaluates it and writes runs/quickstart/report.html. About 8 minutes on 2 cores; on a GPU the same
minutes train a larger model on longer contexts.
Run it again after an interruption: finished steps are kept, training goes on where it was.

  --text PATH     your own text: a file, directory or glob (.txt, .md, .jsonl; plain, .gz or .zst)
  --seed N        of weights, data order and tasks (default 1)
  --time 240s     longest training time
  --out DIR       run directory (default runs/quickstart)
  --fresh         start over: removes DIR first
  --no-install    install no packages
  --no-build      take build/pivot as it is
  --threads N     CPU threads (default: all)
  --device NAME   cpu, cuda or auto (default: auto)
  key=value       any option of the training config, e.g. attention.spec=topk:1% (see --help of pivot train)
END
}

device=auto text='' seed=1 limit=240s out=runs/quickstart fresh=no install=yes build=yes threads=0
overrides=()
need() { [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value" "scripts/quickstart.sh --help lists the options"; }
while [ $# -gt 0 ]; do
  case "$1" in
    --text) need "$@"; text=$2; shift ;;
    --seed) need "$@"; seed=$2; shift ;;
    --time) need "$@"; limit=$2; shift ;;
    --out) need "$@"; out=${2%/}; shift ;;
    --threads) need "$@"; threads=$2; shift ;;
    --device) need "$@"; device=$2; shift ;;
    --fresh) fresh=yes ;;
    --no-install) install=no ;;
    --no-build) build=no ;;
    --help | -h) usage; exit 0 ;;
    *=*) overrides+=("$1") ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
case "$seed" in '' | *[!0-9]*) fail "--seed $seed: must be a whole number" ;; esac
case "$limit" in *[0-9]s | *[0-9]m | *[0-9]h) ;; *) fail "--time $limit: write it as 240s or 4m" ;; esac
[ -z "$text" ] || compgen -G "$text" >/dev/null || fail "--text $text: there is no such file" "give a file, directory or glob"

case "$device" in
  auto) if find_gpu; then device=cuda; else device=cpu; fi ;;
  cuda) find_gpu || fail "--device cuda: $NO_GPU" "leave --device out to take the CPU" ;;
  cpu) ;;
  *) fail "--device $device: cpu, cuda or auto" ;;
esac
if [ "$device" = cuda ]; then
  config=configs/quickstart-gpu.toml
else
  config=configs/quickstart.toml
fi

pivot=build/pivot
data=$out/data
trap 'on_interrupt' INT TERM

# What this run was made with: another text or seed must not be mixed into it.
claim_directory() {
  local settings
  settings="text=${text:-dictionaries} seed=$seed time=$limit device=$device ${overrides[*]-}"
  [ "$fresh" = no ] || remove_run "$out"
  mkdir -p "$out" || fail "$out cannot be created" "choose another directory with --out"
  if [ -e "$out/quickstart.settings" ] && [ "$(cat "$out/quickstart.settings")" != "$settings" ]; then
    fail "$out was made with other settings: $(cat "$out/quickstart.settings")" \
      "start over with --fresh or choose another directory with --out"
  fi
  echo "$settings" >"$out/quickstart.settings"
  STEP_TIMES=$out/quickstart.seconds
  touch "$STEP_TIMES"
}

install_step() {
  [ "$install" = yes ] || return 0
  install_packages "${PIVOT_BUILD_PACKAGES[@]}" ||
    fail "packages could not be installed" "see the message above; with everything installed: --no-install"
}

build_step() {
  if [ "$build" = no ]; then
    [ -x "$pivot" ] || fail "--no-build: $pivot is missing" "leave --no-build out"
    return 0
  fi
  local log=$out/build.log options=()
  # A build directory that exists keeps its settings (tests, CUDA, compiler).
  [ -e build/CMakeCache.txt ] || options+=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DPIVOT_TESTS=OFF)
  if [ "$device" = cuda ]; then
    scripts/cuda_headers.sh || say "without cuDNN's headers dense attention runs in Pivot's own kernels"
    options+=(-DPIVOT_CUDA=ON "-DPIVOT_CUDA_ARCHS=$GPU_ARCH" "-DCMAKE_CUDA_COMPILER=$NVCC" "-DCUDAToolkit_ROOT=${NVCC%/bin/nvcc}")
  fi
  if ! cmake -S . -B build "${options[@]}" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "CMake stopped; $log has it all" "a broken build directory is repaired by: rm -r build"
  fi
  cmake --build build --target pivot --parallel "$(nproc)" 2>&1 | tee -a "$log" | build_progress ||
    { grep -E -m 5 'error|FAILED|Killed' "$log" >&2
      fail "the build failed; $log has it all" "out of memory? cmake --build build --parallel 1"; }
}

# Sets `inputs` and `tokenizer`; without text the tokenizer is that of plain bytes.
inputs=()
tokenizer=$data/tokenizer.model
text_step() {
  if [ -n "$text" ]; then
    inputs=(--input "$text")
  elif compgen -G "$out/text/*.dict.dz" >/dev/null || fetch_dictionaries "$out/text"; then
    inputs=(--input "$out/text/*.dict.dz")
    say "the Free On-line Dictionary of Computing and the Jargon File ($(tr '\n' ' ' <"$out/text/PACKAGES"))"
  else
    tokenizer=bytes
    say "no text: the packages ${DICTIONARY_PACKAGES[*]} cannot be had here. Going on with generated"
    say "tasks only; with --text PATH your own text takes their place."
  fi
}

tokenizer_step() {
  [ "$tokenizer" != bytes ] || return 0
  [ -e "$data/tokenizer.json" ] && return 0
  mkdir -p "$data"
  # 128 of the pieces are symbols for the generated tasks; they never occur in text.
  "$pivot" tokenizer train "${inputs[@]}" --vocab 1024 --reserved 128 --out "$tokenizer" \
    --json "$data/tokenizer.json" ||
    fail "no tokenizer could be trained" "see above; --text wants at least 100 KB of ordinary text"
}

# synth NAME OPTION...: shards of one generated task, unless they are there.
synth() {
  local name=$1
  shift
  [ -e "$data/$name.json" ] && return 0
  "$pivot" data synth --tokenizer "$tokenizer" --seed "$seed" --vocab-keys 48 --vocab-values 48 \
    --noise-symbols 16 --out "$data/$name" --json "$data/$name.json" --overwrite "$@"
}

data_step() {
  if [ "$tokenizer" != bytes ] && [ ! -e "$data/text.json" ]; then
    "$pivot" data build "${inputs[@]}" --tokenizer "$tokenizer" --validation 2% --max-document 4096 \
      --out "$data/text" --json "$data/text.json" --overwrite
  fi
  # A key asked for soon after 2 or 3 pairs is where looking up is learnt first; many pairs follow, at
  # last 32 of them among noise in 512 tokens.
  synth near --task mqar --pairs-min 2 --pairs 3 --queries 8 --length 0 --count 60000
  synth many --task mqar --pairs-min 4 --pairs 32 --length 0 --count 8000
  synth far --task recall --pairs-min 4 --pairs 32 --queries 32 --length 512 --count 1500
  synth lookup --task recall --pairs 32 --queries 32 --length 512 --count 1 --validation-count 64
}

train_step() {
  if [ -e "$out/trained" ]; then
    say "trained already (--fresh starts over)"
    return 0
  fi
  local sources=(output="$out" seed="$seed" time="$limit" threads="$threads" device="$device")
  if [ "$tokenizer" = bytes ]; then
    sources+=("data.train=$data/near/train@50,$data/many/train@25,$data/far/train@25"
      "data.validation=$data/lookup/validation" sample.every=0)
  else
    sources+=("data.train=$data/text/train@25,$data/near/train@45,$data/many/train@15,$data/far/train@15"
      "data.validation=$data/text/validation")
  fi
  "$pivot" train "$config" "${sources[@]}" "${overrides[@]}"
  touch "$out/trained"
}

eval_step() {
  local trained specs=() spec
  trained=$(trained_attention)
  for spec in dense topk:10% topk:5% "$trained" topk:2%,min=1 topk:1%,min=1 topk:0.2%,min=1; do
    case " ${specs[*]-} " in *" $spec "*) ;; *) specs+=(--attn "$spec") ;; esac
  done
  [ -e "$out/eval/retrieval.json" ] && [ "$out/eval/retrieval.json" -nt "$out/trained" ] ||
    "$pivot" eval --model "$out" --data "$data/lookup/validation" --mode decode --name retrieval \
      --threads "$threads" --device "$device" "${specs[@]}"
  [ "$tokenizer" = bytes ] && return 0
  [ -e "$out/eval/text.json" ] && [ "$out/eval/text.json" -nt "$out/trained" ] ||
    "$pivot" eval --model "$out" --data "$data/text/validation" --name text --attn "$trained" \
      --attn dense --threads "$threads" --device "$device"
}

# The spec that training ended with, as the run's own configuration has it.
trained_attention() {
  awk '/^\[/ { group = $0 } group == "[attention]" && $1 == "spec" { gsub(/"/, "", $3); print $3; exit }' \
    "$out/config.toml"
}

sample_step() {
  [ "$tokenizer" != bytes ] || return 0
  "$pivot" sample --model "$out" --prompt "A computer is" --tokens 100 --temperature 0.7 --top-p 0.95 \
    --seed "$seed" --echo --threads "$threads" --device "$device" --json "$out/sample.json"
}

summary_step() {
  write_summary "$out" "$data" "$(trained_attention)"
  "$pivot" report "$out"
}

claim_directory
run_step packages install_step
run_step build build_step
run_step text text_step
run_step tokenizer tokenizer_step
run_step data data_step
run_step train train_step
run_step eval eval_step
run_step sample sample_step
run_step report summary_step
closing_words "$out" "$data" "$tokenizer"
