#include <cmath>
#include <limits>
#include <vector>

#include "kernels/decode_attention/row_job.h"

namespace pivot::decode {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kLineFloats = 16;  // of a cache line

// Range of blocks of one part.
struct Range {
  int64_t first_block, last_block;
};

Range blocks_of_part(const Row& row, const Extent& extent, int64_t part) {
  return {part * row.blocks() / extent.parts, (part + 1) * row.blocks() / extent.parts};
}

int64_t list_of(const Row& row, const Extent& extent, int64_t selection, int64_t part) {
  return (row.b * extent.selections + selection) * extent.parts + part;
}

// Scores by which keys are ranked: +inf for the forced ones among `count` keys from `token` on.
void force_scores(const Row& row, int64_t token, int64_t count, float* scores) {
  const AttentionPolicy& policy = row.a.policy;
  const int64_t newest = row.length - 1;
  if (token >= policy.sink && newest - (token + count - 1) >= policy.recent) return;
  for (int64_t i = 0; i < count; ++i) {
    const bool forced = is_forced(static_cast<int32_t>(token + i), 0, static_cast<int32_t>(newest),
                                  policy.sink, policy.recent);
    if (forced && scores[i] == scores[i]) scores[i] = kForcedScore;  // a NaN stays to be seen
  }
}

// total = max or sum of the group's heads, in the order of the heads; NaN stays NaN.
void combine(SelectionGroup group, const float* scores, int64_t count, float* total) {
  for (int64_t i = 0; i < count; ++i) {
    if (group == SelectionGroup::Sum) {
      total[i] += scores[i];
    } else {
      total[i] = scores[i] > total[i] || scores[i] != scores[i] ? scores[i] : total[i];
    }
  }
}

// Scores of one page for the heads of a group, and what happens to them.
class PartScan {
 public:
  PartScan(const Row& row, const Extent& extent, const Workspace& work, int64_t g, int64_t part,
           int worker)
      : row_(row),
        extent_(extent),
        work_(work),
        g_(g),
        part_(part),
        spare_(work.spare + worker * extent.parts * extent.room),
        scores_(static_cast<size_t>(extent.group * kPageTokens)) {}

  void run() {
    const int64_t lists = per_head() ? extent_.group : 1;
    std::vector<CandidateList> candidates;
    for (int64_t r = 0; r < lists; ++r) {
      candidates.emplace_back(work_.candidates + list(r) * extent_.room, spare_, extent_.room,
                              row_.k);
    }
    for (int64_t r = 0; r < extent_.group; ++r) work_.nan[row_slot(r) + part_] = 0;
    const Range range = blocks_of_part(row_, extent_, part_);
    for (int64_t block = range.first_block; block < range.last_block; ++block) {
      scan_block(block, candidates);
    }
    for (int64_t r = 0; r < lists; ++r) {
      CandidateList& best = candidates[static_cast<size_t>(r)];
      work_.counts[list(r)] = static_cast<int32_t>(best.finish());
      if (!best.nan()) continue;
      // A NaN in what a group is ranked by is one for all its heads.
      const int64_t first = per_head() ? r : 0;
      const int64_t last = per_head() ? r + 1 : extent_.group;
      for (int64_t h = first; h < last; ++h) work_.nan[row_slot(h) + part_] = 1;
    }
  }

 private:
  bool per_head() const { return row_.a.policy.group == SelectionGroup::Head; }
  int64_t list(int64_t r) const {
    return list_of(row_, extent_, per_head() ? g_ * extent_.group + r : g_, part_);
  }
  int64_t row_slot(int64_t r) const {
    return (row_.b * extent_.heads + g_ * extent_.group + r) * extent_.slots;
  }

  void scan_block(int64_t block, std::vector<CandidateList>& candidates) {
    const int64_t end = std::min(row_.length, (block + 1) * kBlockTokens);
    const int64_t first_mass =
        (row_.b * extent_.heads + g_ * extent_.group) * extent_.blocks + block;
    if (work_.mass_max != nullptr) {
      for (int64_t r = 0; r < extent_.group; ++r) {
        work_.mass_max[first_mass + r * extent_.blocks] = -kInfinity;
        work_.mass_sum[first_mass + r * extent_.blocks] = 0;
      }
    }
    for (int64_t token = block * kBlockTokens; token < end; token += kPageTokens) {
      scan_page(token, std::min(kPageTokens, end - token), first_mass, candidates);
    }
  }

  void scan_page(int64_t token, int64_t count, int64_t first_mass,
                 std::vector<CandidateList>& candidates) {
    const bool more = token + kPageTokens < row_.length;
    score_page({.scores = scores_.data(),
                .queries = row_.query(g_ * extent_.group),
                .k_page = row_.keys(g_, token),
                .next = more ? row_.keys(g_, token + kPageTokens) : nullptr,
                .rows = extent_.group,
                .head_dim = extent_.head_dim});
    float ranking[kPageTokens];
    for (int64_t r = 0; r < extent_.group; ++r) {
      float* scores = scores_.data() + r * kPageTokens;
      if (per_head() || r == 0) {
        std::copy(scores, scores + kPageTokens, ranking);
      } else {
        combine(row_.a.policy.group, scores, count, ranking);
      }
      if (per_head()) {
        force_scores(row_, token, count, ranking);
        candidates[static_cast<size_t>(r)].add(ranking, count, token);
      }
      if (work_.mass_max != nullptr) add_mass(first_mass + r * extent_.blocks, scores, count);
    }
    if (!per_head()) {
      force_scores(row_, token, count, ranking);
      candidates[0].add(ranking, count, token);
    }
  }

  void add_mass(int64_t slot, float* scores, int64_t count) {
    Partial partial{work_.mass_max[slot], work_.mass_sum[slot], nullptr};
    take_scores(partial, scores, count, row_.a.scale, 0);
    work_.mass_max[slot] = partial.max;
    work_.mass_sum[slot] = partial.sum;
  }

  const Row& row_;
  const Extent& extent_;
  const Workspace& work_;
  int64_t g_, part_;
  uint64_t* spare_;
  std::vector<float> scores_;  // (group, kPageTokens)
};

// q . key by the same chain of fused multiply-adds as the lanes of a score tile.
float score_key(const float* q, const float* key, int64_t head_dim) {
  float sum = 0;
  for (int64_t d = 0; d < head_dim; ++d) sum = std::fma(q[d], key[d], sum);
  return sum;
}

}  // namespace

void scan_part(const Row& row, const Extent& extent, const Workspace& work, int64_t g, int64_t part,
               int worker) {
  PartScan(row, extent, work, g, part, worker).run();
}

void select_row(const Row& row, const Extent& extent, const Workspace& work, int64_t selection,
                int worker) {
  const int64_t first_list = list_of(row, extent, selection, 0);
  uint64_t* keys = work.candidates + first_list * extent.room;
  int64_t count = 0;
  for (int64_t part = 0; part < extent.parts; ++part) {
    const uint64_t* from = keys + part * extent.room;
    const int64_t n = work.counts[first_list + part];
    std::copy(from, from + n, keys + count);  // towards the front: never past its source
    count += n;
  }
  PIVOT_CHECK(count >= row.k, "{} candidates for {} kept keys", count, row.k);
  const uint64_t last = count > row.k ? keep_best(keys, count, row.k,
                                                  work.spare + worker * extent.parts * extent.room)
                                      : *std::min_element(keys, keys + count);
  work.counts[first_list] = static_cast<int32_t>(row.k);
  const int64_t group = row.a.policy.group == SelectionGroup::Head ? 1 : extent.group;
  for (int64_t r = 0; r < group; ++r) {
    const int64_t head = row.b * extent.heads + selection * group + r;
    row.a.tau.as<float>()[head] = rank_score(last);
    row.a.jcut.as<int32_t>()[head] = rank_index(last);
  }
}

void attend_chunk(const Row& row, const Extent& extent, const Workspace& work, int64_t head,
                  int64_t chunk) {
  const int64_t d = extent.head_dim;
  const bool per_head = row.a.policy.group == SelectionGroup::Head;
  const int64_t g = head / extent.group;
  const int64_t list = list_of(row, extent, per_head ? head : g, 0);
  const uint64_t* kept = work.candidates + list * extent.room;
  const int64_t begin = chunk * kChunkKeys;
  const int64_t end = std::min<int64_t>(work.counts[list], begin + kChunkKeys);
  const int64_t slot = (row.b * extent.heads + head) * extent.slots + chunk;
  Partial partial{-kInfinity, 0, work.acc + slot * d};
  std::fill(partial.acc, partial.acc + d, 0.0F);
  float weights[kPageTokens];
  std::vector<float> key(static_cast<size_t>(d));
  for (int64_t i = begin; i < end; i += kPageTokens) {
    const int64_t count = std::min(kPageTokens, end - i);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t token = rank_index(kept[i + j]);
      weights[j] = rank_score(kept[i + j]);
      // What ranked was not this head's score: a forced key, or the score of a whole group.
      if (!per_head || weights[j] == kForcedScore) {
        load_page_key(row.keys(g, token), token % kPageTokens, d, key.data());
        weights[j] = score_key(row.query(head), key.data(), d);
      }
      const float* value = row.values(g, token) + token % kPageTokens * d;
      for (int64_t c = 0; c < d; c += kLineFloats) __builtin_prefetch(value + c);
    }
    take_scores(partial, weights, count, row.a.scale, d);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t token = rank_index(kept[i + j]);
      add_values({.acc = partial.acc,
                  .acc_stride = d,
                  .weights = weights + j,
                  .weight_stride = 1,
                  .v = row.values(g, token) + token % kPageTokens * d,
                  .next = nullptr,
                  .rows = 1,
                  .count = 1,
                  .head_dim = d});
    }
  }
  work.max[slot] = partial.max;
  work.sum[slot] = partial.sum;
}

}  // namespace pivot::decode
