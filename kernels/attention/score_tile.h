#pragma once
/// The one place where q . k is computed on the CPU, for training and decoding alike.
///
/// A score is the fp32 chain  s = 0;  for d = 0 .. D-1:  s = fma(q[d], k[d], s).  Its bits depend
/// on q and k alone: not on the tile, the lane, the number of rows, the batch or the machine.
///
/// Keys are packed in tiles of kTileKeys with the keys in vector lanes:
///   tile (D, kTileKeys):  tile[d * kTileKeys + lane] = key[lane][d]
/// Tiles of one head follow one another, so key j lies in tile j / kTileKeys, lane j % kTileKeys.
/// Unused lanes hold finite numbers (pack_key_tile writes zeros); their scores are to be ignored.

#include <cstdint>

namespace pivot {

inline constexpr int kTileKeys = 32;

/// Floats of one packed tile of keys of this width.
constexpr int64_t key_tile_floats(int64_t width) {
  return kTileKeys * width;
}

/// Packs keys[0 .. count), count <= kTileKeys, key j at keys + j * stride; zeros in the other
/// lanes.
void pack_key_tile(float* tile, const float* keys, int64_t stride, int count, int width);

/// Packs the keys keys + index[i] * stride, i in [0, count): a tile of gathered keys.
void pack_gathered_key_tile(float* tile, const float* keys, int64_t stride, const int32_t* index,
                            int count, int width);

/// Writes one key to its lane and leaves the others: a cache that grows by a token.
void pack_key(float* tile, int lane, const float* key, int width);

struct ScoreRows {
  float* scores;         // out (rows, tiles * kTileKeys), row r at scores + r * score_stride
  int64_t score_stride;  // floats
  const float* queries;  // in (rows, D), row r at queries + r * query_stride
  int64_t query_stride;  // floats
  int64_t rows;          // any number; multiples of 8 are the fastest
  const float* tiles;    // in (tiles, D, kTileKeys)
  int64_t tile_count;
  int width;  // D
};
/// All scores of the rows against all keys of the tiles. No alignment is asked for.
void score_rows(const ScoreRows& a);

}  // namespace pivot
