#pragma once
/// From scores to ranking scores: groups that share a set, and forced keys.

#include "kernels/attention/geometry.h"
#include "kernels/attention/policy.h"

namespace pivot::attention {

struct RankMode {
  bool shared;  // one set for the heads of a group
  bool forced;  // some keys rank with kForcedScore

  /// True where a key's ranking score may differ from its score.
  bool differs() const { return shared || forced; }
};
RankMode rank_mode(const AttentionPolicy& policy, int group);

/// Ranking scores of the visible pairs of a strip, one row per set: (tile.rows(), stride), or
/// (tile.count, stride) where the mode is shared. Returns `scores` itself where they do not differ,
/// else fills `ranks`. A NaN among the scores that make up a ranking score makes it NaN.
const float* rank_strip(const AttentionPolicy& policy, const QueryTile& tile, int64_t key_begin,
                        int64_t keys, const float* scores, float* ranks, int64_t stride);

}  // namespace pivot::attention
