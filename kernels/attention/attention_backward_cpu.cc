#include <algorithm>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/backward_block.h"

namespace pivot {

using namespace attention;

namespace attention {

BackwardSpace take_backward_space(Arena& arena, const AttentionBackward& a) {
  const Geometry g = geometry_of(a);
  const int64_t rows = g.tile_rows();
  const auto floats = [&](int64_t count) { return arena.tensor(DType::F32, {count}).as<float>(); };
  BackwardSpace s = {};
  s.block = block_keys(g.width);
  s.stride = s.block + 16;
  s.key_tiles = floats(s.block * g.width);
  s.value_tiles = floats(s.block * g.width);
  s.keys = floats(s.block * g.width);
  s.values = floats(s.block * g.width);
  s.dkeys = floats(s.block * g.width);
  s.dvalues = floats(s.block * g.width);
  s.dqueries = floats(rows * g.width);
  s.scores = floats(rows * s.stride);
  s.dscores = floats(rows * s.stride);
  s.ranks = floats(rows * s.stride);
  s.flags = arena.tensor(DType::U8, {rows * s.stride + 64}).as<uint8_t>();
  s.kept = arena.tensor(DType::I32, {s.block}).as<int32_t>();
  s.kept_scores = floats(s.block);
  s.kept_dscores = floats(s.block);
  return s;
}

}  // namespace attention

namespace {

// 64 MiB hold the heads of small models at once; a head that is larger is alone.
constexpr int64_t kPackedBytes = int64_t{64} << 20;

struct Room {
  Room(Arena& arena, const AttentionBackward& a, int workers) {
    const Geometry g = geometry_of(a);
    rows = g.tokens * g.group;
    const int64_t head_bytes = 3 * rows * g.width * static_cast<int64_t>(sizeof(float));
    heads = static_cast<int>(
        std::clamp<int64_t>(kPackedBytes / std::max<int64_t>(1, head_bytes), 1, g.kv_heads));
    const auto floats = [&](int64_t count) {
      return arena.tensor(DType::F32, {count}).as<float>();
    };
    packed.queries = floats(heads * rows * g.width);
    packed.douts = floats(heads * rows * g.width);
    packed.dqueries = floats(heads * rows * g.width);
    packed.delta = floats(heads * rows);
    packed.finite = arena.tensor(DType::U8, {heads * g.tokens}).as<uint8_t>();
    for (int i = 0; i < workers; ++i) worker.push_back(take_backward_space(arena, a));
  }
  PackedQueries at(int slot, const Geometry& g) const {
    const int64_t row = slot * rows;
    return {.queries = packed.queries + row * g.width,
            .douts = packed.douts + row * g.width,
            .dqueries = packed.dqueries + row * g.width,
            .delta = packed.delta + row,
            .finite = packed.finite + slot * g.tokens};
  }
  int heads = 1;     // KV heads at once
  int64_t rows = 0;  // of a KV head
  PackedQueries packed = {};
  std::vector<BackwardSpace> worker;
};

struct Item {
  Document document;
  int64_t block;
  int64_t before;  // index of the item of the block before; unused for the first
};

// Blocks with the most queries first. A block comes after the one before it, as Progress needs.
std::vector<Item> items_of(const AttentionBackward& a, const Geometry& g) {
  const int64_t block = block_keys(g.width);
  std::vector<Item> items;
  for (const Document& d : documents_of(a.doc_offsets, g.tokens, a.max_document)) {
    for (int64_t i = 0; i * block < d.length; ++i) items.push_back({d, i, 0});
  }
  const auto left = [&](const Item& item) { return item.document.length - item.block * block; };
  std::stable_sort(items.begin(), items.end(),
                   [&](const Item& x, const Item& y) { return left(x) > left(y); });
  return items;
}

// Index of the block before, for each item.
void link(std::vector<Item>& items) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    const Item& a = items[x];
    const Item& b = items[y];
    return a.document.begin != b.document.begin ? a.document.begin < b.document.begin
                                                : a.block < b.block;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (items[order[i]].block > 0) items[order[i]].before = static_cast<int64_t>(order[i - 1]);
  }
}

struct Tile {
  Document document;
  QueryTile tile;
};

std::vector<Tile> tiles_of(const AttentionBackward& a, const Geometry& g) {
  std::vector<Tile> tiles;
  for (const Document& d : documents_of(a.doc_offsets, g.tokens, a.max_document)) {
    for (int64_t i = 0; i * g.tile_tokens < d.length; ++i) {
      tiles.push_back({d, query_tile(g, d, i)});
    }
  }
  return tiles;
}

// The KV heads first .. first + heads.
struct HeadRange {
  int first;
  int count;
};

void backward_heads(const AttentionBackward& a, const std::vector<Item>& items,
                    const HeadRange& heads, Room& room, ThreadPool& pool) {
  const Geometry g = geometry_of(a);
  // KV heads vary fastest: neighbours in time then seldom wait for each other.
  std::vector<Progress> progress(items.size() * static_cast<size_t>(heads.count));
  pool.for_each(static_cast<int64_t>(progress.size()), [&](int64_t i, int worker) {
    const Item& item = items[static_cast<size_t>(i / heads.count)];
    const auto slot = static_cast<int>(i % heads.count);
    const int64_t before = item.before * heads.count + slot;
    backward_block({.args = &a,
                    .geometry = g,
                    .packed = room.at(slot, g),
                    .document = item.document,
                    .kv_head = heads.first + slot,
                    .block = item.block,
                    .before = item.block == 0 ? nullptr : &progress[static_cast<size_t>(before)],
                    .progress = &progress[static_cast<size_t>(i)]},
                   room.worker[static_cast<size_t>(worker)]);
  });
}

}  // namespace

size_t scratch_bytes(const AttentionBackward& a, int workers) {
  Arena counter({Device::Kind::Plan, 0}, 0);
  const Room room(counter, a, workers);
  return counter.peak();
}

void attention_backward_cpu(const AttentionBackward& a, Context& ctx) {
  const Geometry g = geometry_of(a);
  if (g.tokens == 0) return;
  const Arena::Scope scope = ctx.scratch.scope();
  Room room(ctx.scratch, a, ctx.pool.size());
  const std::vector<Tile> tiles = tiles_of(a, g);
  std::vector<Item> items = items_of(a, g);
  link(items);
  for (int first = 0; first < g.kv_heads; first += room.heads) {
    const HeadRange heads{first, std::min(room.heads, g.kv_heads - first)};
    ctx.pool.for_each(static_cast<int64_t>(tiles.size()) * heads.count, [&](int64_t i, int) {
      const Tile& t = tiles[static_cast<size_t>(i / heads.count)];
      const auto slot = static_cast<int>(i % heads.count);
      pack_queries(a, t.document, first + slot, t.tile, room.at(slot, g));
    });
    backward_heads(a, items, heads, room, ctx.pool);
  }
}

}  // namespace pivot
