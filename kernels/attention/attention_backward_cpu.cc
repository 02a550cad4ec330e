#include <algorithm>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/backward_block.h"
#include "kernels/attention/gathered_rows.h"

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
  s.queries = floats(rows * g.width);
  s.douts = floats(rows * g.width);
  s.dqueries = floats(rows * g.width);
  s.scores = floats(rows * s.stride);
  s.dscores = floats(rows * s.stride);
  s.ranks = floats(rows * s.stride);
  s.flags = arena.tensor(DType::U8, {rows * s.stride}).as<uint8_t>();
  s.kept = arena.tensor(DType::I32, {s.block}).as<int32_t>();
  s.kept_scores = floats(s.block);
  s.kept_dscores = floats(s.block);
  return s;
}

}  // namespace attention

namespace {

constexpr int64_t kRowsPerTask = 64;

struct Room {
  Room(Arena& arena, const AttentionBackward& a, int workers)
      : delta(arena.tensor(DType::F32, {a.qkv.dim(0), a.heads}).as<float>()) {
    for (int i = 0; i < workers; ++i) worker.push_back(take_backward_space(arena, a));
  }
  float* delta;
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

// delta[t, h] = dout[t, h] . out[t, h]
void fill_delta(const AttentionBackward& a, float* delta, ThreadPool& pool) {
  const auto width = static_cast<int>(a.qkv.dim(2));
  const float* out = a.out.as<float>();
  const float* dout = a.dout.as<float>();
  pool.for_ranges(a.qkv.dim(0) * a.heads, kRowsPerTask, [&](int64_t begin, int64_t end) {
    const int32_t zero = 0;
    for (int64_t i = begin; i < end; ++i) {
      gathered_dots(delta + i, dout + i * width, {out + i * width, width, &zero, 1, width});
    }
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
  fill_delta(a, room.delta, ctx.pool);
  std::vector<Item> items = items_of(a, g);
  link(items);
  // KV heads vary fastest: neighbours in time then seldom wait for each other.
  const int64_t heads = g.kv_heads;
  std::vector<Progress> progress(items.size() * static_cast<size_t>(heads));
  ctx.pool.for_each(static_cast<int64_t>(progress.size()), [&](int64_t i, int worker) {
    const Item& item = items[static_cast<size_t>(i / heads)];
    const int64_t head = i % heads;
    const Progress* before =
        item.block == 0 ? nullptr : &progress[static_cast<size_t>(item.before * heads + head)];
    backward_block({.args = &a,
                    .geometry = g,
                    .delta = room.delta,
                    .document = item.document,
                    .kv_head = static_cast<int>(head),
                    .block = item.block,
                    .before = before,
                    .progress = &progress[static_cast<size_t>(i)]},
                   room.worker[static_cast<size_t>(worker)]);
  });
}

}  // namespace pivot
