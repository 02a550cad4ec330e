#pragma once
/// Attention of one query token per sequence against that sequence's KV cache, dense or exact
/// Top-k.
///
/// The query of sequence b is its newest token: it sees the keys 0..lengths[b]-1 (itself included),
/// as row t = lengths[b]-1 of attention_forward does. Scores are the bits of attention_forward on
/// the same device (kernels/attention/score_tile.h, kernels/cuda/mma.cuh) and the kept set is the
/// one of kernels/attention/{budget,order}.h, so training and decoding keep the same keys for the
/// same queries and keys. A sequence that keeps all its keys takes the dense path and has the bits
/// of `dense`. Nothing depends on the other sequences of the batch or on the number of threads.
/// Each key tile is read once for all query heads of its group.
///
/// On the CPU Top-k selects while it scans: only scores that can still be among the k best enter a
/// candidate list, which is cut back to the k best of the keys seen whenever it fills, so no list
/// can overflow. On CUDA all scores are written to scratch, one block per set selects by radix, and
/// blocks over fixed ranges of keys attend to the kept ones (kernels/decode_attention/cuda).
///
/// Pages of kPageTokens keys: token t of sequence b is token t % kPageTokens of page
/// page_table[b][t / kPageTokens]. A page of KV head g holds
///             keys (k_pages)                                values (v_pages)
///   CPU       score tiles, one after the other: F32 only    rows (token, D)
///   CUDA      rows (token, D)                               rows (token, D)
/// so CUDA's k_pages are (G, P, kPageTokens, D) in memory; the shape is the same for both.

#include "kernels/attention/attention.h"
#include "kernels/op.h"

namespace pivot {

/// Tokens of a page; a whole number of score tiles.
inline constexpr int64_t kPageTokens = 64;

struct DecodeAttention {
  Tensor out;          // out (B, H, D), F32 or BF16 as qkv and the pages; BF16 on CUDA only
  Tensor lse;          // out (B, H) F32: log-sum-exp of the kept scaled scores
  Tensor tau;          // out (B, H) F32: score of the last kept key; -inf where all are kept
  Tensor jcut;         // out (B, H) I32: largest kept index among scores equal to tau
  Tensor lse_visible;  // out (B, H) F32 or absent: log-sum-exp over all visible keys
  Tensor nan_rows;     // in-out (1) I32 or absent: the number of rows (b, h) that are NaN is added
  Tensor qkv;          // in (B, H + 2 G, D) after RoPE; only the query heads [0, H) are read
  Tensor k_pages;      // in (G, P, D * kPageTokens)
  Tensor v_pages;      // in (G, P, kPageTokens, D)
  Tensor page_table;   // in (B, S) I32, S * kPageTokens >= max_length
  Tensor lengths;      // in (B) I32: keys of each sequence, at most max_length; 0 gives zeros
  int heads;           // H
  int kv_heads;        // G, divides H
  float scale;         // above 0, usually 1 / sqrt(D)
  int64_t max_length;  // upper bound of the lengths: cost, scratch and launches, never results
  AttentionPolicy policy;
};
void check(const DecodeAttention& a);
Cost cost(const DecodeAttention& a);
/// Grows with B and max_length: planning for the largest covers all smaller calls.
size_t scratch_bytes(const DecodeAttention& a, int workers);
size_t cuda_scratch_bytes(const DecodeAttention& a);
void decode_attention_cpu(const DecodeAttention& a, Context& ctx);
void decode_attention_cuda(const DecodeAttention& a, Context& ctx);
inline constexpr Op<DecodeAttention> decode_attention{"decode_attention", &decode_attention_cpu,
                                                      PIVOT_CUDA_TWIN(decode_attention_cuda)};

/// Where the keys and values of one page go on the CPU: `k_page` (D * kPageTokens) and `v_page`
/// (kPageTokens, D).
struct PageView {
  float* k_page;
  float* v_page;
};
/// Stores tokens [first, first + count) of a page, first + count <= kPageTokens. The key of token i
/// is at key + i * stride, its value at value + i * stride, D floats each.
void store_page_tokens(const PageView& page, int64_t first, int64_t count, int64_t head_dim,
                       const float* key, const float* value, int64_t stride);
/// Key of one token of a page, into out (D).
void load_page_key(const float* k_page, int64_t token, int64_t head_dim, float* out);

}  // namespace pivot
