#pragma once
/// What the kernels of the naive path share: the problem as an argument of a kernel, the score of a
/// pair, and what a key ranks by.
///
/// The naive path does what docs/semantics.md says, a block a row and a thread a key. It is the
/// reference of the tiled kernels on the GPU and the path of types and widths that they don't take;
/// nothing in it is fast.

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/attention/budget.h"
#include "kernels/attention/order.h"
#include "kernels/attention/score_bits.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot::attention::naive {

inline constexpr int kThreads = 256;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
struct Problem {
  const T* qkv;                // (T, H + 2 G, D)
  const int32_t* doc_offsets;  // (documents + 1)
  int64_t tokens;
  int documents;
  int heads;
  int kv_heads;
  int group;  // H / G
  int width;
  float scale;
  Budget budget;
  int sink;
  int recent;
  SelectionGroup selection;  // Head where a set belongs to one head

  PIVOT_HD bool shared_sets() const { return selection != SelectionGroup::Head; }
  PIVOT_HD int64_t stride() const { return int64_t{heads + 2 * kv_heads} * width; }
  PIVOT_HD const T* query(int64_t t, int head) const {
    return qkv + t * stride() + int64_t{head} * width;
  }
  PIVOT_HD const T* key(int64_t t, int kv_head) const { return query(t, heads + kv_head); }
  PIVOT_HD const T* value(int64_t t, int kv_head) const {
    return query(t, heads + kv_heads + kv_head);
  }
};

template <class T, class Args>
Problem<T> problem_of(const Args& a) {
  const int group = a.heads / a.kv_heads;
  // Dense attention keeps any number of keys.
  const Budget all{{0, 1}, std::numeric_limits<int64_t>::max(), 0, 0};
  const bool dense = a.policy.dense();
  return {.qkv = a.qkv.template as<T>(),
          .doc_offsets = a.doc_offsets.template as<int32_t>(),
          .tokens = a.qkv.dim(0),
          .documents = static_cast<int>(a.doc_offsets.dim(0) - 1),
          .heads = a.heads,
          .kv_heads = a.kv_heads,
          .group = group,
          .width = static_cast<int>(a.qkv.dim(2)),
          .scale = a.scale,
          .budget = dense ? all : budget_of(a.policy),
          .sink = dense ? 0 : a.policy.sink,
          .recent = dense ? 0 : a.policy.recent,
          .selection = dense || group == 1 ? SelectionGroup::Head : a.policy.group};
}

/// Rows [begin, end) of the tensor.
struct Document {
  int32_t begin;
  int32_t end;
};

/// The document of row t; empty documents hold no row.
__device__ inline Document document_of(const int32_t* offsets, int documents, int32_t t) {
  int first = 0;  // offsets[first] <= t < offsets[last]
  int last = documents;
  while (last - first > 1) {
    const int middle = first + (last - first) / 2;
    (offsets[middle] <= t ? first : last) = middle;
  }
  return {offsets[first], offsets[last]};
}

/// q . k with the CPU's bits: a chain of fused multiply-adds.
__device__ inline float score(const float* q, const float* k, int width) {
  float s = 0;
#pragma unroll 1
  for (int d = 0; d < width; d += cuda::kLanes<float>) {
    const cuda::Pack<float> a = cuda::load_pack(q + d);
    const cuda::Pack<float> b = cuda::load_pack(k + d);
#pragma unroll
    for (int i = 0; i < cuda::kLanes<float>; ++i) s = fmaf(a.value[i], b.value[i], s);
  }
  return s;
}
/// q . k with the tensor cores' bits.
__device__ inline float score(const BFloat16* q, const BFloat16* k, int width) {
  return mma_dot(q, k, width);
}

/// a . b in fp32.
template <class T>
__device__ inline float dot(const T* a, const T* b, int width) {
  float s = 0;
  for (int d = 0; d < width; ++d) s = fmaf(cuda::as_float(a[d]), cuda::as_float(b[d]), s);
  return s;
}

/// What `key` ranks by for `head` and `query`; score_of(h) is its score for head h.
template <class T, class ScoreOf>
__device__ float ranking_score(const Problem<T>& p, int head, int32_t key, int32_t begin,
                               int32_t query, const ScoreOf& score_of) {
  float rank;
  if (p.shared_sets()) {
    const int first = head / p.group * p.group;
    rank = score_of(first);
    for (int other = first + 1; other < first + p.group; ++other) {
      const float s = score_of(other);
      if (p.selection == SelectionGroup::Sum) {
        rank += s;
      } else if (s > rank || std::isnan(s)) {
        rank = s;  // a NaN stays: nothing is above it
      }
    }
  } else {
    rank = score_of(head);
  }
  const bool forced = is_forced(key, begin, query, p.sink, p.recent) && !std::isnan(rank);
  return forced ? kForcedScore : rank;
}

/// The kept set of a row.
struct Cut {
  float tau;
  int32_t jcut;

  /// True where all keys up to `query` are kept: then no ranks are needed, nor have to be numbers.
  PIVOT_HD bool keeps_all(int32_t query) const { return tau == -kInfinity && jcut == query; }
};

/// The entries of a chunk of kThreads keys or rows that take part, in ascending order.
struct List {
  int32_t index[kThreads];
  float weight[kThreads];
  float other[kThreads];
  int counts[kThreads / cuda::kWarp];
};

struct Position {
  int before;  // flagged threads with a lower index
  int total;   // of the block
};

/// Every thread's place among those with `flag`. Starts and ends with the block in step, so what
/// was written before may be read after, and the other way round.
__device__ inline Position position_of(bool flag, int* counts) {
  const unsigned lane = threadIdx.x % cuda::kWarp;
  const unsigned warp = threadIdx.x / cuda::kWarp;
  const uint32_t flags = __ballot_sync(cuda::kAllLanes, flag);
  __syncthreads();
  if (lane == 0) counts[warp] = __popc(flags);
  __syncthreads();
  Position p{__popc(flags & ((1U << lane) - 1)), 0};
  for (unsigned w = 0; w < kThreads / cuda::kWarp; ++w) {
    if (w < warp) p.before += counts[w];
    p.total += counts[w];
  }
  return p;
}

/// Sums of weighted rows: kThreads / width threads share a column if the width is smaller, each
/// with every kThreads / width-th entry.
struct Columns {
  float* sums;  // (parts, width) in shared memory
  int width;
  int parts;
};
PIVOT_HD constexpr int column_parts(int width) {
  return width < kThreads ? kThreads / width : 1;
}
/// Floats of shared memory for one Columns.
constexpr int column_floats(int width) {
  return column_parts(width) * width;
}

__device__ inline Columns clear_columns(float* sums, int width) {
  const Columns c{sums, width, column_parts(width)};
  for (int i = static_cast<int>(threadIdx.x); i < c.parts * width; i += kThreads) sums[i] = 0;
  return c;
}

/// sums += weight[i] * row_of(index[i]) over i < count.
template <class RowOf>
__device__ void add_rows(const Columns& c, const int32_t* index, const float* weight, int count,
                         const RowOf& row_of) {
  for (int i = static_cast<int>(threadIdx.x); i < c.parts * c.width; i += kThreads) {
    const int column = i % c.width;
    float sum = c.sums[i];
    for (int e = i / c.width; e < count; e += c.parts) {
      sum = fmaf(weight[e], cuda::as_float(row_of(index[e])[column]), sum);
    }
    c.sums[i] = sum;
  }
}

/// to = factor * sums, when all threads have added.
template <class T>
__device__ void store_columns(const Columns& c, float factor, T* to) {
  for (int d = static_cast<int>(threadIdx.x); d < c.width; d += kThreads) {
    float total = 0;
    for (int part = 0; part < c.parts; ++part) total += c.sums[part * c.width + d];
    to[d] = cuda::from_float<T>(total * factor);
  }
}

}  // namespace pivot::attention::naive
