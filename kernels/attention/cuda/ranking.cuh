#pragma once
/// From scores to ranking scores (docs/semantics.md): groups that share a set, forced keys.

#include "kernels/attention/attention.h"
#include "kernels/attention/cuda/score_tile.cuh"
#include "kernels/attention/order.h"
#include "kernels/cuda/max_nan.cuh"

namespace pivot::attention {

/// Q, K and V of one packed tensor (T, H + 2 G, D).
struct QkvView {
  const BFloat16* data;
  int heads;     // H
  int kv_heads;  // G
  int width;     // D

  __host__ __device__ int group() const { return heads / kv_heads; }
  __device__ __forceinline__ HeadRows rows(int middle) const {
    return head_rows(data, heads + 2 * kv_heads, middle, width);
  }
  __device__ __forceinline__ HeadRows queries(int head) const { return rows(head); }
  __device__ __forceinline__ HeadRows keys(int kv_head) const { return rows(heads + kv_head); }
  __device__ __forceinline__ HeadRows values(int kv_head) const {
    return rows(heads + kv_heads + kv_head);
  }
};
/// Of the arguments of a pass over a tensor of type BF16.
template <class Args>
QkvView qkv_view(const Args& a) {
  return {a.qkv.template as<BFloat16>(), a.heads, a.kv_heads, static_cast<int>(a.qkv.dim(2))};
}

/// What of the policy ranks.
struct RankRule {
  int sink;
  int recent;
  bool sum;  // of the heads' scores where a set is shared, else their maximum

  /// Keys [key, key + count) contain one that is forced for a row from `row` on.
  __device__ __forceinline__ bool forces(int key, int count, int begin, int row) const {
    return (sink > 0 && key < begin + sink) || (recent > 0 && key + count - 1 > row - recent);
  }
  __device__ __forceinline__ float rank(float score, int key, int begin, int row) const {
    const bool forced = is_forced(key, begin, row, sink, recent) && score == score;
    return forced ? kForcedScore : score;
  }
};
inline RankRule rank_rule(const AttentionPolicy& policy) {
  return {policy.sink, policy.recent, policy.group == SelectionGroup::Sum};
}
/// True where the heads of a KV head share a set and there is more than one.
template <class Args>
bool shares_sets(const Args& a) {
  return !a.policy.dense() && a.policy.group != SelectionGroup::Head && a.heads != a.kv_heads;
}

/// rank = the maximum or the sum of the group's scores; a NaN among them stays. The warp's rows are
/// [first, first + 16 M), those after `last` repeat it. The queries come from global memory each
/// time: shared sets are computed correctly, not fast.
template <int D, int M, int N>
__device__ __forceinline__ void group_scores(float (&rank)[M][N][4], const QkvView& qkv,
                                             int kv_head, const RankRule& rule, int first, int last,
                                             uint32_t tile, int column, int lane) {
  const int group = qkv.group();
  for (int i = 0; i < group; ++i) {
    float s[M][N][4];
    score_tile<D>(s, qkv.queries(kv_head * group + i), first, last, tile, column, lane);
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float before = rank[m][n][c];
          const float score = s[m][n][c];
          rank[m][n][c] = i == 0 ? score : rule.sum ? before + score : cuda::max_nan(before, score);
        }
      }
    }
  }
}

}  // namespace pivot::attention
