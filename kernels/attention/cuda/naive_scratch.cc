#include "kernels/attention/cuda/naive_scratch.h"

#include <algorithm>

#include "kernels/attention/cuda/paths.h"

namespace pivot::attention {
namespace naive {

// Four blocks of 256 threads on each of an H100's 132 multiprocessors. Fixed, so that the memory is
// known without the device and grows with T alone.
constexpr int64_t kBlocks = 528;

ScoreRoom score_room(const AttentionForward& a) {
  const int group = a.heads / a.kv_heads;
  const bool shared = !a.policy.dense() && a.policy.group != SelectionGroup::Head;
  const int64_t heads = shared ? group : 1;
  const int64_t tokens = a.qkv.dim(0);
  return {std::min(kBlocks, tokens * a.heads / heads), heads, std::min(a.max_document, tokens)};
}

}  // namespace naive

size_t naive_scratch(const AttentionForward& a) {
  const naive::ScoreRoom room = naive::score_room(a);
  return scratch_size(DType::F32, room.blocks * room.heads * room.longest);
}

size_t naive_scratch(const AttentionBackward& a) {
  return scratch_size(DType::F32, a.out.dim(0) * a.heads);  // delta (T, H)
}

}  // namespace pivot::attention
