#pragma once
/// How the CUDA kernels of decode_attention cut their work, and the scratch that this takes. Host
/// side, in every build: memory is planned without CUDA.

#include "kernels/decode_attention/decode_attention.h"

namespace pivot::decode {

/// Keys that one block scores (and, dense, attends to) at a time. Fixed, so that sums have the same
/// order whatever the batch and the capacity. 256 keys of D = 128 are 128 KiB of keys and values:
/// enough to hide a block's start, and 32K tokens of 8 KV heads still give every multiprocessor of
/// an H100 its share. The partial sums add 1.5 % to the traffic at 4 query heads a KV head.
inline constexpr int64_t kSplitTokens = 256;
/// Keys of which one block finds and attends to the kept ones of one head: 20 of them at 1 %, so
/// that writing the partial sums stays well below reading the values.
inline constexpr int64_t kRangeTokens = 2048;
/// Head widths the kernels have shared memory for.
inline constexpr int64_t kWidestHead = 256;

/// Sizes that follow from shapes and the policy alone.
struct CudaExtent {
  explicit CudaExtent(const DecodeAttention& a);

  int64_t sequences, heads, kv_heads, group, head_dim, selections;
  int64_t splits;        // of the longest sequence
  int64_t ranges;        // of the longest sequence; 0 when dense
  int64_t whole;         // sequences of up to this many keys keep them all
  int64_t dense_splits;  // of the longest of those
  int64_t slots;         // partial softmaxes of one row
  int64_t row;           // floats of a row of scores, a multiple of kSplitTokens
};

/// The scratch of one call; absent: not needed.
struct CudaSpace {
  Tensor max;          // (B, H, slots) F32
  Tensor sum;          // (B, H, slots) F32
  Tensor acc;          // (B, H, slots, D) F32
  Tensor scores;       // (B, H, row) F32, with Top-k
  Tensor ranks;        // (B, G, row) F32, where groups share a set
  Tensor nan;          // (B, H, splits) I32, with Top-k: a NaN score was seen
  Tensor nan_rows;     // (B, selections) I32, with Top-k
  Tensor visible_max;  // (B, H, splits) F32, with Top-k where lse_visible is wanted
  Tensor visible_sum;
};

/// `take(dtype, shape)` hands out the tensors.
template <class Take>
CudaSpace take_space(const DecodeAttention& a, const CudaExtent& e, Take&& take) {
  const auto f32 = [&](Shape shape) { return take(DType::F32, shape); };
  CudaSpace s;
  s.max = f32({e.sequences, e.heads, e.slots});
  s.sum = f32({e.sequences, e.heads, e.slots});
  s.acc = f32({e.sequences, e.heads, e.slots, e.head_dim});
  if (a.policy.dense()) return s;
  s.scores = f32({e.sequences, e.heads, e.row});
  if (a.policy.group != SelectionGroup::Head) s.ranks = f32({e.sequences, e.kv_heads, e.row});
  s.nan = take(DType::I32, Shape{e.sequences, e.heads, e.splits});
  s.nan_rows = take(DType::I32, Shape{e.sequences, e.selections});
  if (!a.lse_visible.present()) return s;
  s.visible_max = f32({e.sequences, e.heads, e.splits});
  s.visible_sum = f32({e.sequences, e.heads, e.splits});
  return s;
}

}  // namespace pivot::decode
