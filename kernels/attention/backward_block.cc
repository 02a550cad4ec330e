#include "kernels/attention/backward_block.h"

#include <algorithm>
#include <thread>

#include "kernels/attention/gathered_rows.h"
#include "kernels/attention/ranks.h"
#include "kernels/attention/row_math.h"
#include "kernels/attention/tile_product.h"

namespace pivot::attention {
namespace {

// A tile with more than one kept pair in kDenseShare goes as dense: at T = 8192, D = 64 the kept
// pairs one by one cost as much as the matrix products of all at about a third (AVX-512, November
// 2026).
constexpr int64_t kDenseShare = 3;

// One query tile against one block of keys.
struct TileByBlock {
  const BackwardJob& job;
  BackwardSpace& space;
  QueryTile tile;
  int64_t first_key;  // of the block, in the document
  int64_t keys;       // of the block that the tile sees

  const AttentionBackward& args() const { return *job.args; }
  int width() const { return job.geometry.width; }
  int64_t visible(int64_t row) const { return visible_keys(tile, row, first_key, keys); }
  // First row of the tile in the packed queries.
  int64_t packed_row() const { return (job.document.begin + tile.first) * tile.group; }
  const float* queries() const { return job.packed.queries + packed_row() * width(); }
  const float* douts() const { return job.packed.douts + packed_row() * width(); }
  float delta(int64_t row) const { return job.packed.delta[packed_row() + row]; }
  // Of the row in (T, H) tensors.
  int64_t at(int64_t row) const {
    return (job.document.begin + tile.token(row)) * job.geometry.heads +
           job.kv_head * job.geometry.group + row / tile.count;
  }
};

struct KeptCount {
  int64_t kept = 0;
  int64_t visible = 0;
};

// flags = membership of each visible pair in the kept set, 0 up to the next multiple of 64.
KeptCount flag_kept(const TileByBlock& t) {
  BackwardSpace& s = t.space;
  const RankMode mode = rank_mode(t.args().policy, t.tile.group);
  const float* ranks =
      rank_strip(t.args().policy, t.tile, t.first_key, t.keys, s.scores, s.ranks, s.stride);
  KeptCount total;
  for (int64_t row = 0; row < t.tile.rows(); ++row) {
    const int64_t visible = t.visible(row);
    const float tau = t.args().tau.as<float>()[t.at(row)];
    const int64_t jcut = t.args().jcut.as<int32_t>()[t.at(row)];
    const float* rank = ranks + (mode.shared ? row % t.tile.count : row) * s.stride;
    uint8_t* flags = s.flags + row * s.stride;
    // Ties at tau are kept up to jcut.
    const int64_t ties =
        std::clamp<int64_t>(jcut + 1 - t.job.document.begin - t.first_key, 0, visible);
    total.kept += flag_at_least(flags, rank, ties, tau);
    total.kept += flag_above(flags + ties, rank + ties, visible - ties, tau);
    total.visible += visible;
    std::fill(flags + visible, flags + round_up(visible, 64), uint8_t{0});
  }
  return total;
}

// scores become probabilities, dscores (dP on entry) become scale * dS; both 0 where not kept.
void differentiate_rows(const TileByBlock& t) {
  BackwardSpace& s = t.space;
  const float scale = t.args().scale;
  for (int64_t row = 0; row < t.tile.rows(); ++row) {
    const int64_t visible = t.visible(row);
    const int64_t padded = round_up(t.keys, kTileKeys);
    float* p = s.scores + row * s.stride;
    float* ds = s.dscores + row * s.stride;
    const uint8_t* flags = s.flags + row * s.stride;
    const float lse = t.args().lse.as<float>()[t.at(row)];
    const float delta = t.delta(row);
    probability_row(p, p, round_up(visible, kRowStep), scale, lse);
    for (int64_t i = 0; i < visible; ++i) {
      const bool kept = flags[i] != 0;
      ds[i] = kept ? p[i] * (ds[i] - delta) * scale : 0.0F;
      p[i] = kept ? p[i] : 0.0F;
    }
    std::fill(p + visible, p + padded, 0.0F);
    std::fill(ds + visible, ds + padded, 0.0F);
  }
}

// All visible pairs as matrix products; those not kept have weight 0.
void backward_dense(const TileByBlock& t) {
  BackwardSpace& s = t.space;
  const int width = t.width();
  score_strip(t.tile, t.first_key, t.keys, t.douts(), s.value_tiles, width, s.dscores, s.stride);
  differentiate_rows(t);
  for_visible_parts(t.tile, t.first_key, t.keys, [&](const Part& part) {
    const int64_t pairs = part.row * s.stride + part.key;
    TileProduct p{.c = s.dvalues + part.key * width,
                  .c_stride = width,
                  .a = s.scores + pairs,
                  .a_row = 1,
                  .a_inner = s.stride,
                  .b = t.douts() + part.row * width,
                  .b_stride = width,
                  .rows = part.keys,
                  .columns = width,
                  .inner = part.rows};
    add_tile_product(p);
    p.c = s.dkeys + part.key * width;
    p.a = s.dscores + pairs;
    p.b = t.queries() + part.row * width;
    add_tile_product(p);
    add_tile_product({.c = s.dqueries + part.row * width,
                      .c_stride = width,
                      .a = s.dscores + pairs,
                      .a_row = s.stride,
                      .a_inner = 1,
                      .b = s.keys + part.key * width,
                      .b_stride = width,
                      .rows = part.rows,
                      .columns = width,
                      .inner = part.keys});
  });
}

// Indices and scores of a row's kept keys; returns how many.
int64_t list_kept(const TileByBlock& t, int64_t row) {
  BackwardSpace& s = t.space;
  const uint8_t* flags = s.flags + row * s.stride;
  const float* scores = s.scores + row * s.stride;
  int64_t count = 0;
  for_flags(flags, t.visible(row), [&](int64_t i) {
    s.kept[count] = static_cast<int32_t>(i);
    s.kept_scores[count++] = scores[i];
  });
  return count;
}

// The kept pairs alone, row by row.
void backward_sparse(const TileByBlock& t) {
  BackwardSpace& s = t.space;
  const int width = t.width();
  const float scale = t.args().scale;
  for (int64_t row = 0; row < t.tile.rows(); ++row) {
    const int64_t count = list_kept(t, row);
    if (count == 0) continue;
    const float lse = t.args().lse.as<float>()[t.at(row)];
    const float delta = t.delta(row);
    const float* query = t.queries() + row * width;
    const float* dout = t.douts() + row * width;
    GatheredRows from{s.values, width, s.kept, count, width};
    gathered_dots(s.kept_dscores, dout, from);
    std::fill(s.kept_scores + count, s.kept_scores + round_up(count, kRowStep), 0.0F);
    probability_row(s.kept_scores, s.kept_scores, round_up(count, kRowStep), scale, lse);
    for (int64_t i = 0; i < count; ++i) {
      s.kept_dscores[i] = s.kept_scores[i] * (s.kept_dscores[i] - delta) * scale;
    }
    from.rows = s.keys;
    add_gathered_rows(s.dqueries + row * width, s.kept_dscores, from);
    ScatteredRows to{s.dvalues, width, s.kept, count, width};
    add_to_rows(to, s.kept_scores, dout);
    to.rows = s.dkeys;
    add_to_rows(to, s.kept_dscores, query);
  }
}

// The block's share of dQ, after the share of the block before; the last block writes the sum.
void store_dqueries(const TileByBlock& t) {
  const Geometry& g = t.job.geometry;
  const bool first = t.job.before == nullptr;
  const bool last = t.first_key + t.space.block >= t.tile.end();
  float* sums = t.job.packed.dqueries + t.packed_row() * g.width;
  float* to = t.args().dqkv.as<float>() + t.job.document.begin * g.qkv_stride +
              g.query_offset(t.job.kv_head * g.group);
  for (int64_t row = 0; row < t.tile.rows(); ++row) {
    float* share = t.space.dqueries + row * g.width;
    float* sum = sums + row * g.width;
    float* out = last ? to + t.tile.token(row) * g.qkv_stride + row / t.tile.count * g.width : sum;
    if (first) {
      std::copy(share, share + g.width, out);
    } else {
      for (int c = 0; c < g.width; ++c) out[c] = sum[c] + share[c];
    }
  }
}

void backward_tile(const TileByBlock& t, bool block_finite) {
  BackwardSpace& s = t.space;
  const Geometry& g = t.job.geometry;
  std::fill(s.dqueries, s.dqueries + t.tile.rows() * g.width, 0.0F);
  score_strip(t.tile, t.first_key, t.keys, t.queries(), s.key_tiles, g.width, s.scores, s.stride);
  const KeptCount count = flag_kept(t);
  if (count.kept == 0) return;
  // Weight 0 times a number that is not finite is NaN: then only kept pairs may be touched.
  const bool finite = block_finite && t.job.packed.finite[t.job.document.begin + t.tile.first] != 0;
  if (finite && count.kept * kDenseShare > count.visible) {
    backward_dense(t);
  } else {
    backward_sparse(t);
  }
}

// Packs the block's keys and values; true if all are finite.
bool load_block(const BackwardJob& job, int64_t first_key, int64_t keys, BackwardSpace& s) {
  const Geometry& g = job.geometry;
  const float* from = job.args->qkv.as<float>() + (job.document.begin + first_key) * g.qkv_stride;
  const float* key = from + g.key_offset(job.kv_head);
  const float* value = from + g.value_offset(job.kv_head);
  for (int64_t i = 0; i < keys; i += kTileKeys) {
    const auto count = static_cast<int>(std::min<int64_t>(kTileKeys, keys - i));
    pack_key_tile(s.key_tiles + i * g.width, key + i * g.qkv_stride, g.qkv_stride, count, g.width);
    pack_key_tile(s.value_tiles + i * g.width, value + i * g.qkv_stride, g.qkv_stride, count,
                  g.width);
  }
  for (int64_t i = 0; i < keys; ++i) {
    std::copy(key + i * g.qkv_stride, key + i * g.qkv_stride + g.width, s.keys + i * g.width);
    std::copy(value + i * g.qkv_stride, value + i * g.qkv_stride + g.width, s.values + i * g.width);
  }
  std::fill(s.dkeys, s.dkeys + keys * g.width, 0.0F);
  std::fill(s.dvalues, s.dvalues + keys * g.width, 0.0F);
  return all_finite(s.keys, keys * g.width) && all_finite(s.values, keys * g.width);
}

// Ends the wait of the next block however this one ends.
struct Finish {
  Progress* progress;
  ~Finish() { progress->finish(); }
};

}  // namespace

void pack_queries(const AttentionBackward& a, const Document& document, int kv_head,
                  const QueryTile& tile, const PackedQueries& to) {
  const Geometry g = geometry_of(a);
  const int64_t first_row = (document.begin + tile.first) * g.group;
  const int head = kv_head * g.group;
  const int64_t at = (document.begin * g.heads + head) * g.width;
  float* queries = to.queries + first_row * g.width;
  float* douts = to.douts + first_row * g.width;
  load_rows(tile, a.qkv.as<float>() + document.begin * g.qkv_stride + g.query_offset(head),
            g.qkv_stride, g.width, queries);
  load_rows(tile, a.dout.as<float>() + at, int64_t{g.heads} * g.width, g.width, douts);
  for (int64_t row = 0; row < tile.rows(); ++row) {
    const float* out =
        a.out.as<float>() + at + (tile.token(row) * g.heads + row / tile.count) * int64_t{g.width};
    const int32_t zero = 0;
    gathered_dots(to.delta + first_row + row, douts + row * g.width,
                  {out, g.width, &zero, 1, g.width});
  }
  to.finite[document.begin + tile.first] = static_cast<uint8_t>(
      all_finite(queries, tile.rows() * g.width) && all_finite(douts, tile.rows() * g.width));
}

void Progress::wait_for(int64_t tiles) const {
  while (done_.load(std::memory_order_acquire) < tiles) std::this_thread::yield();
}

void backward_block(const BackwardJob& job, BackwardSpace& space) {
  const Finish finish{job.progress};
  const Geometry& g = job.geometry;
  const int64_t first_key = job.block * space.block;
  const int64_t keys = std::min(space.block, job.document.length - first_key);
  const bool finite = load_block(job, first_key, keys, space);
  const int64_t tiles = (job.document.length + g.tile_tokens - 1) / g.tile_tokens;
  for (int64_t index = first_key / g.tile_tokens; index < tiles; ++index) {
    const QueryTile tile = query_tile(g, job.document, index);
    const TileByBlock t{job, space, tile, first_key, std::min(keys, tile.end() - first_key)};
    backward_tile(t, finite);
    if (job.before != nullptr) job.before->wait_for(index + 1);
    store_dqueries(t);
    job.progress->set(index + 1);
  }
  float* to = job.args->dqkv.as<float>() + (job.document.begin + first_key) * g.qkv_stride;
  for (int64_t i = 0; i < keys; ++i, to += g.qkv_stride) {
    std::copy(space.dkeys + i * g.width, space.dkeys + (i + 1) * g.width,
              to + g.key_offset(job.kv_head));
    std::copy(space.dvalues + i * g.width, space.dvalues + (i + 1) * g.width,
              to + g.value_offset(job.kv_head));
  }
}

}  // namespace pivot::attention
