#include "kernels/attention/score_tile.h"

#include <algorithm>

namespace pivot {
namespace {

template <class KeyAt>
void pack(float* tile, int count, int width, const KeyAt& key_at) {
  for (int lane = 0; lane < count; ++lane) {
    const float* key = key_at(lane);
    for (int d = 0; d < width; ++d) tile[d * kTileKeys + lane] = key[d];
  }
  if (count == kTileKeys) return;
  for (int d = 0; d < width; ++d) {
    std::fill(tile + d * kTileKeys + count, tile + (d + 1) * kTileKeys, 0.0F);
  }
}

}  // namespace

void pack_key_tile(float* tile, const float* keys, int64_t stride, int count, int width) {
  pack(tile, count, width, [&](int lane) { return keys + lane * stride; });
}

void pack_gathered_key_tile(float* tile, const float* keys, int64_t stride, const int32_t* index,
                            int count, int width) {
  pack(tile, count, width, [&](int lane) { return keys + index[lane] * stride; });
}

void pack_key(float* tile, int lane, const float* key, int width) {
  for (int d = 0; d < width; ++d) tile[d * kTileKeys + lane] = key[d];
}

}  // namespace pivot
