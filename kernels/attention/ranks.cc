#include "kernels/attention/ranks.h"

#include <algorithm>

#include "kernels/attention/order.h"

namespace pivot::attention {
namespace {

// ranks = max or sum of the group's scores, heads in ascending order.
void combine_heads(SelectionGroup group, const QueryTile& tile, int64_t row, int64_t count,
                   const float* scores, float* ranks, int64_t stride) {
  std::copy(scores + row * stride, scores + row * stride + count, ranks);
  for (int head = 1; head < tile.group; ++head) {
    const float* other = scores + (head * tile.count + row) * stride;
    if (group == SelectionGroup::Max) {
      for (int64_t i = 0; i < count; ++i) {
        // Keeps a NaN of either side.
        ranks[i] = other[i] > ranks[i] || other[i] != other[i] ? other[i] : ranks[i];
      }
    } else {
      for (int64_t i = 0; i < count; ++i) ranks[i] += other[i];
    }
  }
}

// Forced keys rank first; a NaN stays to be seen.
void force_keys(const AttentionPolicy& policy, int64_t token, int64_t key_begin, int64_t count,
                float* ranks) {
  const auto force = [&](int64_t begin, int64_t end) {
    for (int64_t i = std::max<int64_t>(0, begin); i < std::min(count, end); ++i) {
      if (ranks[i] == ranks[i]) ranks[i] = kForcedScore;
    }
  };
  force(0, policy.sink - key_begin);
  force(token - policy.recent + 1 - key_begin, count);
}

}  // namespace

RankMode rank_mode(const AttentionPolicy& policy, int group) {
  return {.shared = group > 1 && policy.group != SelectionGroup::Head,
          .forced = policy.sink > 0 || policy.recent > 0};
}

const float* rank_strip(const AttentionPolicy& policy, const QueryTile& tile, int64_t key_begin,
                        int64_t keys, const float* scores, float* ranks, int64_t stride) {
  const RankMode mode = rank_mode(policy, tile.group);
  if (!mode.differs()) return scores;
  const int64_t rows = mode.shared ? tile.count : tile.rows();
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t count = visible_keys(tile, row, key_begin, keys);
    if (mode.shared) {
      combine_heads(policy.group, tile, row, count, scores, ranks + row * stride, stride);
    } else {
      std::copy(scores + row * stride, scores + row * stride + count, ranks + row * stride);
    }
    if (mode.forced) force_keys(policy, tile.token(row), key_begin, count, ranks + row * stride);
  }
  return ranks;
}

}  // namespace pivot::attention
