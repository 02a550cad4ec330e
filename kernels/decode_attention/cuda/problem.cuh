#pragma once
/// What the kernels of one decode_attention call share.

#include "kernels/attention/order.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/decode_attention/cuda/space.h"

namespace pivot::decode {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Arguments, sizes and scratch as the device sees them; T is float or BFloat16.
template <class T>
struct Problem {
  const T* qkv;
  const T* k_pages;
  const T* v_pages;
  const int32_t* page_table;
  const int32_t* lengths;
  T* out;
  float* lse;
  float* tau;
  int32_t* jcut;
  float* lse_visible;    // or null
  int32_t* nan_counter;  // or null

  int64_t sequences, pages, table_width, slots, splits, row;
  int heads, kv_heads, group, head_dim, selections;
  float scale;
  int64_t whole;
  Budget budget;
  int sink, recent;
  SelectionGroup mode;

  float* max;  // see CudaSpace
  float* sum;
  float* acc;
  float* scores;
  float* ranks;
  int32_t* nan;
  int32_t* nan_rows;
  float* visible_max;
  float* visible_sum;

  /// A sequence of n keys that keeps them all takes the dense path.
  __device__ bool keeps_all(int64_t n) const { return n <= whole; }
  __device__ const T* query(int64_t b, int head) const {
    return qkv + (b * (heads + 2 * kv_heads) + head) * head_dim;
  }
  /// Where token `token` of a sequence lies in `pool`, the pages of keys or of values.
  __device__ const T* in_page(const T* pool, int64_t b, int g, int64_t token) const {
    const int64_t page = page_table[b * table_width + token / kPageTokens];
    return pool + ((g * pages + page) * kPageTokens + token % kPageTokens) * head_dim;
  }
};

template <class T>
Problem<T> make_problem(const DecodeAttention& a, const CudaExtent& e, const CudaSpace& s) {
  const auto floats = [](const Tensor& t) { return t.present() ? t.as<float>() : nullptr; };
  const auto integers = [](const Tensor& t) { return t.present() ? t.as<int32_t>() : nullptr; };
  return {.qkv = a.qkv.as<T>(),
          .k_pages = a.k_pages.as<T>(),
          .v_pages = a.v_pages.as<T>(),
          .page_table = integers(a.page_table),
          .lengths = integers(a.lengths),
          .out = a.out.as<T>(),
          .lse = floats(a.lse),
          .tau = floats(a.tau),
          .jcut = integers(a.jcut),
          .lse_visible = floats(a.lse_visible),
          .nan_counter = integers(a.nan_rows),
          .sequences = e.sequences,
          .pages = a.k_pages.dim(1),
          .table_width = a.page_table.dim(1),
          .slots = e.slots,
          .splits = e.splits,
          .row = e.row,
          .heads = a.heads,
          .kv_heads = a.kv_heads,
          .group = static_cast<int>(e.group),
          .head_dim = static_cast<int>(e.head_dim),
          .selections = static_cast<int>(e.selections),
          .scale = a.scale,
          .whole = e.whole,
          .budget = budget_of(a.policy),
          .sink = a.policy.sink,
          .recent = a.policy.recent,
          .mode = a.policy.group,
          .max = floats(s.max),
          .sum = floats(s.sum),
          .acc = floats(s.acc),
          .scores = floats(s.scores),
          .ranks = floats(s.ranks),
          .nan = integers(s.nan),
          .nan_rows = integers(s.nan_rows),
          .visible_max = floats(s.visible_max),
          .visible_sum = floats(s.visible_sum)};
}

enum class Which { Dense, TopK };

/// One block's piece of work: keys [begin, end) of sequence b, part `index` of its range, for
/// `inner` of the heads (or whatever the caller counts).
struct Piece {
  int64_t b, index, begin, end;
  int inner;
};

/// Finds piece number `item` among those of the sequences that take the path `which`, in parts of
/// `tokens` keys and `inner` pieces each; false beyond the last. Lengths are known on the device
/// only: with this a fixed number of blocks shares exactly the work there is.
template <class T>
__device__ bool find_piece(const Problem<T>& p, Which which, int64_t item, int64_t tokens,
                           int inner, Piece* piece) {
  for (int64_t b = 0; b < p.sequences; ++b) {
    const int64_t n = p.lengths[b];
    if (n == 0 || p.keeps_all(n) != (which == Which::Dense)) continue;
    const int64_t items = (n + tokens - 1) / tokens * inner;
    if (item >= items) {
      item -= items;
      continue;
    }
    const int64_t index = item / inner;
    const int64_t begin = index * tokens;
    *piece = {b, index, begin, begin + tokens < n ? begin + tokens : n,
              static_cast<int>(item % inner)};
    return true;
  }
  return false;
}

}  // namespace pivot::decode
