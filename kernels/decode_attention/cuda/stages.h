#pragma once
/// The kernels of decode_attention in the order in which they run, each in its own .cu file. Host
/// side; T is float or BFloat16.
///
/// Dense, and sequences that keep all their keys under Top-k:
///   attend_all    partial softmaxes over splits of kSplitTokens keys
/// Top-k:
///   score_keys    all scores into scratch (and partial sums for lse_visible)
///   select_keys   tau and jcut of every set
///   attend_kept   partial softmaxes over ranges of kRangeTokens keys
/// Both:
///   merge_parts   partial softmaxes to out and lse, in ascending order

#include "src/core/context.h"

namespace pivot::decode {

template <class T>
struct Problem;

template <class T>
void attend_all(const Problem<T>& p, int64_t most_splits, Context& ctx);
template <class T>
void score_keys(const Problem<T>& p, Context& ctx);
template <class T>
void select_keys(const Problem<T>& p, Context& ctx);
template <class T>
void attend_kept(const Problem<T>& p, int64_t ranges, Context& ctx);
template <class T>
void merge_parts(const Problem<T>& p, Context& ctx);

}  // namespace pivot::decode
