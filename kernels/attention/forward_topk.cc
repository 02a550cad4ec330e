#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/forward_tile.h"
#include "kernels/attention/gathered_rows.h"
#include "kernels/attention/ranks.h"
#include "kernels/attention/row_math.h"

namespace pivot::attention {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The kept keys of one selection row, in ascending order of index.
struct KeptSet {
  int64_t count;
  float tau;
  int32_t jcut;
};

KeptSet describe(const RowSelector& selector, int64_t count, int64_t token, int64_t begin) {
  if (count == token + 1) return {count, -kInfinity, static_cast<int32_t>(begin + token)};
  return {count, selector.last_score(), static_cast<int32_t>(begin + selector.last_index())};
}

// Scores of the kept keys for `heads` heads of a token, where ranking scores are not scores.
void gather_scores(const ForwardJob& job, const QueryTile& tile, int64_t first_row, int heads,
                   int64_t count, ForwardSpace& space) {
  const Geometry& g = job.geometry;
  const float* keys =
      job.args->qkv.as<float>() + job.document.begin * g.qkv_stride + g.key_offset(job.kv_head);
  for (int64_t i = 0; i < count; i += kTileKeys) {
    const auto lanes = static_cast<int>(std::min<int64_t>(kTileKeys, count - i));
    pack_gathered_key_tile(space.gathered_tile, keys, g.qkv_stride, space.kept + i, lanes, g.width);
    score_rows({.scores = space.kept_scores + i,
                .score_stride = space.kept_stride,
                .queries = space.queries + first_row * g.width,
                .query_stride = tile.count * g.width,
                .rows = heads,
                .tiles = space.gathered_tile,
                .tile_count = 1,
                .width = g.width});
  }
}

// Softmax over the kept keys of one row and the sum of their values.
bool finish_row(const ForwardJob& job, const QueryTile& tile, int64_t row, float* scores,
                const KeptSet& set, ForwardSpace& space) {
  const AttentionForward& a = *job.args;
  const int width = job.geometry.width;
  float max = -kInfinity;
  float sum = 0;
  float moment = 0;
  take_in(scores, set.count, a.scale, &max, &sum, a.entropy.present() ? &moment : nullptr, scores);
  float* values = space.sums + row * width;
  std::fill(values, values + width, 0.0F);
  add_gathered_rows(values, scores,
                    {.rows = job.values,
                     .stride = width,
                     .index = space.kept,
                     .count = set.count,
                     .width = width});
  const bool all_kept = set.tau == -kInfinity && set.count == tile.token(row) + 1;
  const float visible_max = all_kept ? max : space.max[row];
  const float visible_sum = all_kept ? sum : space.sum[row];
  return store_row(job, tile.token(row), static_cast<int>(row / tile.count),
                   {.max = max,
                    .sum = sum,
                    .moment = moment,
                    .lse_visible = a.scale * visible_max + std::log(visible_sum),
                    .tau = set.tau,
                    .jcut = set.jcut,
                    .values = values});
}

// Finishes the heads of one selection row; returns how many rows are NaN.
int64_t finish_selection(const ForwardJob& job, const QueryTile& tile, int64_t selection,
                         RowSelector& selector, ForwardSpace& space) {
  const RankMode mode = rank_mode(job.args->policy, tile.group);
  const int heads = mode.shared ? tile.group : 1;
  const int64_t token = tile.token(selection);
  if (selector.nan()) {
    for (int h = 0; h < heads; ++h) {
      store_nan_row(job, token, static_cast<int>(selection / tile.count) + h);
    }
    return heads;
  }
  const int64_t count = selector.finish();
  const KeptSet set = describe(selector, count, token, job.document.begin);
  for (int64_t i = 0; i < count; ++i) {
    space.kept[i] = selector.index(i);
    space.kept_scores[i] = selector.score(i);
  }
  if (mode.differs()) gather_scores(job, tile, selection, heads, count, space);
  int64_t nan_rows = 0;
  for (int h = 0; h < heads; ++h) {
    nan_rows += finish_row(job, tile, selection + h * tile.count,
                           space.kept_scores + h * space.kept_stride, set, space);
  }
  return nan_rows;
}

// Log-sum-exp over all visible keys, running.
void take_in_visible(const ForwardJob& job, const QueryTile& tile, int64_t strip, int64_t keys,
                     ForwardSpace& space) {
  for (int64_t row = 0; row < tile.rows(); ++row) {
    const int64_t visible = visible_keys(tile, row, strip, keys);
    if (visible == 0) continue;
    take_in(space.scores + row * space.stride, visible, job.args->scale, space.max + row,
            space.sum + row, nullptr, nullptr);
  }
}

// The ranking scores of a row's keys first_index .. first_index + count.
struct Ranks {
  const float* scores;
  int64_t count;
  int64_t first_index;
};

void add_all(RowSelector& list, const Ranks& ranks) {
  for (int64_t i = 0; i < ranks.count; i += kSelectorStep) {
    list.add(ranks.scores + i, std::min(kSelectorStep, ranks.count - i), ranks.first_index + i);
  }
}

// Offers a strip's keys to the selection of a row; the first strip begins it.
void select_from(const AttentionForward& a, const QueryTile& tile, int64_t row, const Ranks& ranks,
                 ForwardSpace& space) {
  RowSelector& list = space.lists[row];
  if (ranks.first_index > 0) {
    add_all(list, ranks);
  } else {
    const int64_t k = budget_of(a.policy)(tile.token(row) + 1);
    const SelectorRoom& rooms = space.rooms;
    const SelectorRoom room{rooms.ranks + row * rooms.room, rooms.indices + row * rooms.room,
                            rooms.room};
    if (ranks.count == tile.token(row) + 1 && prefers_whole_row(k, ranks.count)) {
      list.begin(room, k, std::numeric_limits<float>::quiet_NaN());
      list.select_row(ranks.scores, ranks.count);
      return;
    }
    list.begin(room, k, sample_gate(ranks.scores, ranks.count, k));
    add_all(list, ranks);
    if (!list.complete()) {
      list.begin(room, k, std::numeric_limits<float>::quiet_NaN());
      add_all(list, ranks);
    }
  }
  if (ranks.first_index + ranks.count <= tile.token(row)) list.tighten();
}

}  // namespace

int64_t forward_topk_tile(const ForwardJob& job, const QueryTile& tile, ForwardSpace& space) {
  const AttentionForward& a = *job.args;
  const Geometry& g = job.geometry;
  const RankMode mode = rank_mode(a.policy, tile.group);
  const int64_t selections = mode.shared ? tile.count : tile.rows();
  std::fill(space.sum, space.sum + tile.rows(), 0.0F);
  std::fill(space.max, space.max + tile.rows(), -kInfinity);
  load_rows(
      tile,
      a.qkv.as<float>() + job.document.begin * g.qkv_stride + g.query_offset(job.kv_head * g.group),
      g.qkv_stride, g.width, space.queries);
  for (int64_t strip = 0; strip < tile.end(); strip += space.strip) {
    const int64_t keys = std::min(space.strip, tile.end() - strip);
    score_strip(tile, strip, keys, space.queries, job.key_tiles + strip * g.width, g.width,
                space.scores, space.stride);
    if (a.lse_visible.present()) take_in_visible(job, tile, strip, keys, space);
    const float* ranks =
        rank_strip(a.policy, tile, strip, keys, space.scores, space.ranks, space.stride);
    for (int64_t s = 0; s < selections; ++s) {
      const int64_t visible = visible_keys(tile, s, strip, keys);
      select_from(a, tile, s, {ranks + s * space.stride, visible, strip}, space);
    }
  }
  int64_t nan_rows = 0;
  for (int64_t s = 0; s < selections; ++s) {
    nan_rows += finish_selection(job, tile, s, space.lists[s], space);
  }
  return nan_rows;
}

}  // namespace pivot::attention
