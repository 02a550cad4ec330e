#include <limits>
#include <vector>

#include "kernels/decode_attention/row_job.h"

namespace pivot::decode {

void dense_block(const Row& row, const Extent& extent, const Workspace& work, int64_t g,
                 int64_t block) {
  const int64_t d = extent.head_dim;
  const int64_t first_slot = ((row.b * extent.heads + g * extent.group) * extent.slots) + block;
  for (int64_t r = 0; r < extent.group; ++r) {
    const int64_t slot = first_slot + r * extent.slots;
    work.max[slot] = -std::numeric_limits<float>::infinity();
    work.sum[slot] = 0;
    work.nan[slot] = 0;
    std::fill(work.acc + slot * d, work.acc + (slot + 1) * d, 0.0F);
  }
  std::vector<float> weights(static_cast<size_t>(extent.group * kPageTokens));
  const int64_t end = std::min(row.length, (block + 1) * kBlockTokens);
  for (int64_t token = block * kBlockTokens; token < end; token += kPageTokens) {
    const int64_t count = std::min(kPageTokens, end - token);
    // The range may go on in the next block, which this thread is then likely to take.
    const bool more = token + kPageTokens < row.length;
    score_page({.scores = weights.data(),
                .queries = row.query(g * extent.group),
                .k_page = row.keys(g, token),
                .next = more ? row.keys(g, token + kPageTokens) : nullptr,
                .rows = extent.group,
                .head_dim = d});
    for (int64_t r = 0; r < extent.group; ++r) {
      const int64_t slot = first_slot + r * extent.slots;
      float* scores = weights.data() + r * kPageTokens;
      if (any_nan(scores, count)) work.nan[slot] = 1;
      Partial partial{work.max[slot], work.sum[slot], work.acc + slot * d};
      take_scores(partial, scores, count, row.a.scale, d);
      work.max[slot] = partial.max;
      work.sum[slot] = partial.sum;
    }
    add_values({.acc = work.acc + first_slot * d,
                .acc_stride = extent.slots * d,
                .weights = weights.data(),
                .weight_stride = kPageTokens,
                .v = row.values(g, token),
                .next = more ? row.values(g, token + kPageTokens) : nullptr,
                .rows = extent.group,
                .count = count,
                .head_dim = d});
  }
}

}  // namespace pivot::decode
