#include <algorithm>

#include "kernels/attention/forward_tile.h"
#include "kernels/attention/ranks.h"

namespace pivot::attention {

ForwardSpace take_forward_space(Arena& arena, const AttentionForward& a) {
  const Geometry g = geometry_of(a);
  const int64_t rows = g.tile_rows();
  const auto floats = [&](int64_t count) { return arena.tensor(DType::F32, {count}).as<float>(); };
  const auto integers = [&](int64_t count) {
    return arena.tensor(DType::I32, {count}).as<int32_t>();
  };
  ForwardSpace s = {};
  const bool selects = !keeps_all(a.policy, a.max_document);
  const int64_t k = a.policy.dense() ? 0 : budget_of(a.policy)(a.max_document);
  const int64_t whole = round_up(a.max_document, kDenseStrip);
  s.strip = !selects                               ? kDenseStrip
            : prefers_whole_row(k, a.max_document) ? whole
                                                   : std::min(kTopkStrip, whole);
  s.stride = s.strip + 16;
  s.queries = floats(rows * g.width);
  s.scores = floats(rows * s.stride);
  s.sums = floats(rows * g.width);
  s.max = floats(rows);
  s.sum = floats(rows);
  s.moment = floats(rows);
  if (!selects) return s;
  if (rank_mode(a.policy, g.group).differs()) s.ranks = floats(rows * s.stride);
  const int64_t room = selector_room(k, a.max_document);
  s.rooms = {integers(rows * room), integers(rows * room), room};
  s.kept = integers(k);
  s.kept_stride = round_up(k, kTileKeys);
  s.kept_scores = floats(g.group * s.kept_stride);
  s.gathered_tile = floats(key_tile_floats(g.width));
  s.lists.resize(static_cast<size_t>(rows));
  return s;
}

}  // namespace pivot::attention
