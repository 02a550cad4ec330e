# shellcheck shell=bash
# Sourced: reads single figures from the JSON files that pivot commands write (indented, one key a line),
# with awk alone, since a bare machine has neither python3 nor jq.

# json_number FILE KEY: the first number under KEY; "null" when there is none.
json_number() {
  awk -v key="\"$2\":" '
    $1 == key && $2 ~ /^-?[0-9]/ { sub(/,$/, "", $2); print $2; found = 1; exit }
    END { if (!found) print "null" }' "$1" 2>/dev/null || echo null
}

# json_text FILE KEY: the first string under KEY, with its quotes and escapes; "null" when there is none.
json_text() {
  awk -v key="\"$2\":" '
    $1 == key && $2 ~ /^"/ { sub(/^[^:]*: */, ""); sub(/,$/, ""); print; found = 1; exit }
    END { if (!found) print "null" }' "$1" 2>/dev/null || echo null
}

# eval_metric FILE METRIC: a line "SPEC VALUE STDERR" for every attention spec of a `pivot eval` result.
# Specs hold no spaces.
eval_metric() {
  awk -v metric="\"$2\":" '
    $1 == "\"attn\":" { spec = $0; sub(/^ *"attn": "/, "", spec); sub(/",?$/, "", spec) }
    $1 == metric { inside = 1 }
    inside && $1 == "\"value\":" { sub(/,$/, "", $2); value = $2 }
    inside && $1 == "\"stderr\":" { sub(/,$/, "", $2); print spec, value, $2; inside = 0 }' "$1"
}
