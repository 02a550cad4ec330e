#include "kernels/attention/packed_heads.h"

#include <algorithm>

#include "kernels/attention/row_math.h"

namespace pivot::attention {
namespace {

// With 64 MiB the heads of small models fit at once and a 128K-token head of width 128 is alone.
constexpr int64_t kPackedBytes = int64_t{64} << 20;

PackedHead take(Arena& arena, int64_t keys, int64_t width) {
  return {.key_tiles = arena.tensor(DType::F32, {keys, width}).as<float>(),
          .values = arena.tensor(DType::F32, {keys, width}).as<float>(),
          .value_finite = arena.tensor(DType::U8, {keys / kTileKeys}).as<uint8_t>()};
}

}  // namespace

void pack_head(const AttentionForward& a, const Document& document, int kv_head, int64_t first_tile,
               int64_t tiles, const PackedHead& to) {
  const Geometry g = geometry_of(a);
  const float* rows = a.qkv.as<float>() + document.begin * g.qkv_stride;
  for (int64_t tile = first_tile; tile < first_tile + tiles; ++tile) {
    const int64_t key = tile * kTileKeys;
    const auto count = static_cast<int>(std::min<int64_t>(kTileKeys, document.length - key));
    if (count <= 0) return;
    const float* from = rows + key * g.qkv_stride;
    pack_key_tile(to.key_tiles + tile * key_tile_floats(g.width), from + g.key_offset(kv_head),
                  g.qkv_stride, count, g.width);
    float* values = to.values + key * g.width;
    for (int i = 0; i < count; ++i) {
      const float* value = from + i * g.qkv_stride + g.value_offset(kv_head);
      std::copy(value, value + g.width, values + int64_t{i} * g.width);
    }
    to.value_finite[tile] = static_cast<uint8_t>(all_finite(values, int64_t{count} * g.width));
  }
}

PackedHeads::PackedHeads(Arena& arena, const AttentionForward& a) : width_(a.qkv.dim(2)) {
  const int64_t tokens = a.qkv.dim(0);
  if (a.max_document <= kShortDocument || tokens <= kShortDocument) return;
  // Each long document may leave a tile partly empty.
  keys_ = round_up(tokens, kTileKeys) + tokens / (kShortDocument + 1) * kTileKeys;
  heads_ = static_cast<int>(std::clamp<int64_t>(
      kPackedBytes / (2 * keys_ * width_ * static_cast<int64_t>(sizeof(float))), 1, a.kv_heads));
  room_ = take(arena, heads_ * keys_, width_);
}

PackedHead PackedHeads::at(int slot, int64_t first_key) const {
  const int64_t key = slot * keys_ + first_key;
  return {room_.key_tiles + key * width_, room_.values + key * width_,
          room_.value_finite + key / kTileKeys};
}

PackedHead take_short_head(Arena& arena, const AttentionForward& a) {
  const int64_t longest = std::min({kShortDocument, a.max_document, a.qkv.dim(0)});
  return take(arena, round_up(longest, kTileKeys), a.qkv.dim(2));
}

}  // namespace pivot::attention
