# shellcheck shell=bash
# Sourced by quickstart.sh: its steps with progress and remaining time, its summary and last words.

STEP_TIMES=''  # file: "NAME SECONDS" of the steps that did their work, over all runs of the script
QUICKSTART_BEGIN=$(date +%s)
STEP_PLAN="packages 40 build 150 text 5 tokenizer 10 data 10 train 240 eval 30 sample 2 report 1"

say() { printf '   %s\n' "$*"; }

# fail WHAT [NEXT]: the message, what to do next, exit 2.
fail() {
  printf 'quickstart: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '            %s\n' "$2" >&2
  exit 2
}

on_interrupt() {
  trap - INT TERM
  printf '\nquickstart: stopped; the same command goes on from here\n' >&2
  exit 130
}

# clock SECONDS: 1:23
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# run_step NAME FUNCTION: a heading with the time left, the function, its measured time. The time left is
# what the steps from here on take on 2 cores, at most.
run_step() {
  local name=$1 left=0 seen=no word begin
  for word in $STEP_PLAN; do
    if [ "$word" = "$name" ]; then seen=yes; fi
    case "$word" in *[!0-9]*) ;; *) [ "$seen" = no ] || left=$((left + word)) ;; esac
  done
  begin=$(date +%s)
  printf '\n== %s  (%s since the start, at most about %s to go)\n' "$name" \
    "$(clock $((begin - QUICKSTART_BEGIN)))" "$(clock $left)"
  "$2"
  remember_seconds "$name" $(($(date +%s) - begin))
}

# A step that finds its work done takes no time: the longest time counts.
remember_seconds() {
  [ "$2" -gt "$(step_seconds "$1")" ] || return 0
  echo "$1 $2" >>"$STEP_TIMES"
}

# step_seconds NAME...: together.
step_seconds() {
  local name sum=0
  for name in "$@"; do
    sum=$((sum + $(awk -v name="$name" '$1 == name { last = $2 } END { print last + 0 }' "$STEP_TIMES")))
  done
  echo "$sum"
}

# Ninja's output on one line of a terminal, otherwise a line now and then; errors stay in the log.
build_progress() {
  if [ -t 1 ]; then
    awk '/^\[/ { printf "\r\033[K   %.100s", $0; fflush() } END { printf "\r\033[K" }'
  else
    awk '/^\[/ && NR % 25 == 1 { print "   " $1; fflush() }'
  fi
}

# remove_run DIR: only what a quickstart made is removed.
remove_run() {
  [ -e "$1" ] || return 0
  [ -e "$1/quickstart.settings" ] ||
    fail "$1 was not made by this script" "remove it yourself or choose another directory with --out"
  rm -rf "$1"
}

# write_summary OUT DATA TRAINED_SPEC: OUT/summary.json, every figure from the commands' own results.
write_summary() {
  local out=$1 data=$2 trained=$3 spec value comma=''
  {
    printf '{\n  "heldout_bits_per_byte": %s,\n' "$(json_number_in_eval "$out/eval/text.json" "$trained")"
    printf '  "unigram_bits_per_byte": %s,\n' "$(json_number "$data/text.json" unigram_bits_per_byte)"
    printf '  "trained_attn": "%s",\n  "retrieval": {' "$trained"
    while read -r spec value _; do
      printf '%s\n    "%s": %s' "$comma" "$spec" "$value"
      comma=','
    done < <(eval_metric "$out/eval/retrieval.json" answer_accuracy)
    printf '\n  },\n  "seconds": {'
    printf '"packages": %d, "build": %d, "data": %d, "train": %d, "eval": %d, "total": %d}\n}\n' \
      "$(step_seconds packages)" "$(step_seconds build)" "$(step_seconds text tokenizer data)" \
      "$(step_seconds train)" "$(step_seconds eval sample)" \
      "$(step_seconds packages build text tokenizer data train eval sample)"
  } >"$out/summary.json.partial"
  mv "$out/summary.json.partial" "$out/summary.json"
}

# json_number_in_eval FILE SPEC: bits per byte of this spec; "null" when the file is not there.
json_number_in_eval() {
  local spec value
  [ -e "$1" ] || { echo null; return; }
  while read -r spec value _; do
    [ "$spec" != "$2" ] || { echo "$value"; return; }
  done < <(eval_metric "$1" bits_per_byte)
  echo null
}

# closing_words OUT DATA TOKENIZER
closing_words() {
  local out=$1 data=$2
  printf '\nDone in %s.\n' "$(clock $(($(date +%s) - QUICKSTART_BEGIN)))"
  cat <<END

Look at
  $out/report.html     the whole run: losses, attention, retrieval by attention spec
  $out/summary.json    the figures

Try next
  build/pivot data show $data/far/train --doc 0
  build/pivot eval --model $out --data $data/lookup/validation --mode decode --attn topk:k=2 --attn topk:1%,min=1
END
  if [ "$3" = bytes ]; then
    echo "  scripts/quickstart.sh --out runs/mine --text PATH        the same with your own text"
  else
    echo "  build/pivot chat --model $out"
  fi
}
