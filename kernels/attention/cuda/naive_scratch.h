#pragma once
/// Memory of the naive path, planned also in builds without CUDA.

#include "kernels/attention/attention.h"

namespace pivot::attention::naive {

/// Scores that the forward pass holds, (blocks, heads, longest) F32: of one row per block.
struct ScoreRoom {
  int64_t blocks;
  int64_t heads;    // that share a set
  int64_t longest;  // tokens of a document
};
ScoreRoom score_room(const AttentionForward& a);

}  // namespace pivot::attention::naive
