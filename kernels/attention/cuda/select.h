#pragma once
/// Finding the kept sets: tau and jcut of every row, exactly, for any scores.

#include "kernels/attention/attention.h"

namespace pivot::attention {

/// How the search goes about it. Speed only, never results; tests force the rare ways with it.
struct SelectTuning {
  int sample_step = 16;    // at most: of this many keys one guesses where the cut lies; 0: no guess
  int least_sample = 128;  // keys a guess needs; rows with fewer than twice as many do without
  int bins = 128;          // of a row's histogram: a power of two, 2 to 128
  int list_capacity = 64;  // so many candidates of a row are sorted instead of counted, 1 to 64
};

/// Fills a.tau and a.jcut. BF16, D = 64 or 128, a Top-k policy.
void select_sets(const AttentionForward& a, const SelectTuning& tuning, Context& ctx);
/// The same for a policy under which all rows keep everything.
void select_everything(const AttentionForward& a, Context& ctx);

/// Rows of a block of select_sets, and what it takes from ctx.scratch (and gives back).
constexpr int select_rows(bool shared_sets) {
  return shared_sets ? 64 : 128;
}

}  // namespace pivot::attention
