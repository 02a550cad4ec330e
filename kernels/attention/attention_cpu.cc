#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/forward_tile.h"
#include "kernels/attention/packed_heads.h"

namespace pivot {

using namespace attention;

namespace {

struct Worker {
  ForwardSpace space;
  PackedHead short_head;
};

struct Room {
  Room(Arena& arena, const AttentionForward& a, int workers) : heads(arena, a) {
    for (int i = 0; i < workers; ++i) {
      worker.push_back({take_forward_space(arena, a), take_short_head(arena, a)});
    }
  }
  PackedHeads heads;
  std::vector<Worker> worker;
};

// A query tile of a long document, or all tiles of a short one.
struct Item {
  Document document;
  int64_t first_key;  // in the packed heads; long documents only
  int64_t tile;       // kAllTiles for a short document
  int64_t work;       // visible pairs, about

  static constexpr int64_t kAllTiles = -1;
};

// A run of key tiles of a long document.
struct PackItem {
  Document document;
  int64_t first_key;
  int64_t tile;
};
constexpr int64_t kPackTiles = 8;

struct Plan {
  std::vector<Item> items;  // the largest first, so that no worker ends late
  std::vector<PackItem> packs;
};

Plan plan_of(const AttentionForward& a, const Geometry& g) {
  Plan plan;
  int64_t first_key = 0;
  for (const Document& d : documents_of(a.doc_offsets, g.tokens, a.max_document)) {
    if (d.length <= kShortDocument) {
      plan.items.push_back({d, 0, Item::kAllTiles, d.length * d.length / 2});
      continue;
    }
    for (int64_t tile = 0; tile * g.tile_tokens < d.length; ++tile) {
      const QueryTile t = query_tile(g, d, tile);
      plan.items.push_back({d, first_key, tile, t.count * t.end()});
    }
    for (int64_t tile = 0; tile * kTileKeys < d.length; tile += kPackTiles) {
      plan.packs.push_back({d, first_key, tile});
    }
    first_key += round_up(d.length, kTileKeys);
  }
  std::stable_sort(plan.items.begin(), plan.items.end(),
                   [](const Item& x, const Item& y) { return x.work > y.work; });
  return plan;
}

int64_t forward_tile(const ForwardJob& job, int64_t index, ForwardSpace& space) {
  const QueryTile tile = query_tile(job.geometry, job.document, index);
  return keeps_all(job.args->policy, tile.end()) ? forward_dense_tile(job, tile, space)
                                                 : forward_topk_tile(job, tile, space);
}

int64_t forward_item(const AttentionForward& a, const Item& item, int kv_head, PackedHead packed,
                     Worker& worker) {
  const Geometry g = geometry_of(a);
  const bool is_short = item.tile == Item::kAllTiles;
  if (is_short) {
    packed = worker.short_head;
    pack_head(a, item.document, kv_head, 0, round_up(item.document.length, kTileKeys) / kTileKeys,
              packed);
  }
  const ForwardJob job{.args = &a,
                       .geometry = g,
                       .document = item.document,
                       .kv_head = kv_head,
                       .key_tiles = packed.key_tiles,
                       .values = packed.values,
                       .value_finite = packed.value_finite};
  if (!is_short) return forward_tile(job, item.tile, worker.space);
  int64_t nan_rows = 0;
  for (int64_t tile = 0; tile * g.tile_tokens < item.document.length; ++tile) {
    nan_rows += forward_tile(job, tile, worker.space);
  }
  return nan_rows;
}

}  // namespace

size_t scratch_bytes(const AttentionForward& a, int workers) {
  Arena counter({Device::Kind::Plan, 0}, 0);
  const Room room(counter, a, workers);
  return counter.peak();
}

void attention_forward_cpu(const AttentionForward& a, Context& ctx) {
  const Geometry g = geometry_of(a);
  if (g.tokens == 0) return;
  const Arena::Scope scope = ctx.scratch.scope();
  Room room(ctx.scratch, a, ctx.pool.size());
  const Plan plan = plan_of(a, g);
  std::atomic<int64_t> nan_rows{0};
  for (int first = 0; first < g.kv_heads; first += room.heads.heads_at_once()) {
    const int heads = std::min(room.heads.heads_at_once(), g.kv_heads - first);
    ctx.pool.for_each(static_cast<int64_t>(plan.packs.size()) * heads, [&](int64_t i, int) {
      const PackItem& p = plan.packs[static_cast<size_t>(i / heads)];
      const auto slot = static_cast<int>(i % heads);
      pack_head(a, p.document, first + slot, p.tile, kPackTiles, room.heads.at(slot, p.first_key));
    });
    ctx.pool.for_each(static_cast<int64_t>(plan.items.size()) * heads, [&](int64_t i, int worker) {
      const Item& item = plan.items[static_cast<size_t>(i / heads)];
      const auto slot = static_cast<int>(i % heads);
      nan_rows += forward_item(a, item, first + slot, room.heads.at(slot, item.first_key),
                               room.worker[static_cast<size_t>(worker)]);
    });
  }
  if (a.nan_rows.present()) {
    a.nan_rows.as<int32_t>()[0] += static_cast<int32_t>(nan_rows.load());
  }
}

}  // namespace pivot
