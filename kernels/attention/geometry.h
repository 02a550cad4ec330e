#pragma once
/// How the CPU cuts attention into pieces. All cuts are relative to the document's first token and
/// depend on shapes alone, so a document gives the same bits alone, packed, and for any thread
/// count.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/attention/score_tile.h"
#include "src/core/tensor.h"

namespace pivot::attention {

struct Geometry {
  int64_t tokens;      // T
  int heads;           // H
  int kv_heads;        // G
  int group;           // H / G
  int width;           // D
  int tile_tokens;     // tokens of a query tile, a multiple of 8
  int64_t qkv_stride;  // (H + 2 G) D

  int64_t tile_rows() const { return int64_t{group} * tile_tokens; }
  int64_t query_offset(int head) const { return int64_t{head} * width; }
  int64_t key_offset(int kv_head) const { return int64_t{heads + kv_head} * width; }
  int64_t value_offset(int kv_head) const { return int64_t{heads + kv_heads + kv_head} * width; }
};

/// 64 rows a tile: a tile of keys is then read once for 64 rows and the rows stay in the L1 cache.
inline constexpr int kTileRows = 64;

/// Keys whose scores dense attention forms at once: 64 rows of them stay in the L1 and L2 caches.
inline constexpr int64_t kDenseStrip = 128;
/// Keys whose scores Top-k forms at once: the first strip tells where the gate may lie, so it had
/// better be long; 64 rows of it fill an L2 cache of 1 MiB.
inline constexpr int64_t kTopkStrip = 4096;

template <class Args>
Geometry geometry_of(const Args& a) {
  const int group = a.heads / a.kv_heads;
  const auto width = static_cast<int>(a.qkv.dim(2));
  return {.tokens = a.qkv.dim(0),
          .heads = a.heads,
          .kv_heads = a.kv_heads,
          .group = group,
          .width = width,
          .tile_tokens = std::max(8, kTileRows / group / 8 * 8),
          .qkv_stride = a.qkv.dim(1) * width};
}

constexpr int64_t round_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

struct Document {
  int64_t begin;   // row of the tensor
  int64_t length;  // > 0
};

/// The non-empty documents. Throws BugError unless the offsets run from 0 to `tokens` in ascending
/// order with no document above max_document.
std::vector<Document> documents_of(const Tensor& offsets, int64_t tokens, int64_t max_document);

/// Tokens [first, first + count) of a document, for all heads of one group: row r is head r / count
/// of the group and token first + r % count.
struct QueryTile {
  int64_t first;
  int64_t count;
  int group;

  int64_t rows() const { return group * count; }
  int64_t end() const { return first + count; }
  int64_t token(int64_t row) const { return first + row % count; }
};

inline QueryTile query_tile(const Geometry& g, const Document& document, int64_t index) {
  const int64_t first = index * g.tile_tokens;
  return {first, std::min<int64_t>(g.tile_tokens, document.length - first), g.group};
}

/// A rectangle of rows and keys of a tile.
struct Part {
  int64_t key;  // first key, relative to the strip
  int64_t keys;
  int64_t row;
  int64_t rows;
};

/// Covers the visible pairs of the tile's rows and keys [key_begin, key_begin + keys) with
/// rectangles whose keys begin at multiples of kTileKeys, in ascending order of keys. `keys` ends
/// no later than the tile's last token; key_begin is a multiple of kTileKeys.
template <class Body>
void for_visible_parts(const QueryTile& tile, int64_t key_begin, int64_t keys, const Body& body) {
  const int64_t before = std::clamp<int64_t>(round_up(tile.first + 1 - key_begin, kTileKeys), 0,
                                             keys);  // all rows see some of these
  if (before > 0) body(Part{0, before, 0, tile.rows()});
  for (int64_t key = before; key < keys; key += kTileKeys) {
    const int64_t skip = (key_begin + key - tile.first) / 8 * 8;
    for (int head = 0; head < tile.group; ++head) {
      body(Part{key, std::min<int64_t>(kTileKeys, keys - key), head * tile.count + skip,
                tile.count - skip});
    }
  }
}

/// scores (tile.rows(), stride): those of the visible pairs with the keys of the strip; others are
/// left or overwritten up to the next multiple of kTileKeys. queries (rows, D); key_tiles are the
/// strip's, (keys / kTileKeys, D, kTileKeys).
void score_strip(const QueryTile& tile, int64_t key_begin, int64_t keys, const float* queries,
                 const float* key_tiles, int width, float* scores, int64_t stride);

/// Row r of `rows` (tile.rows(), D) = the D floats at from + token * token_stride + head * D, where
/// `from` belongs to the document's first token and the group's first head.
void load_rows(const QueryTile& tile, const float* from, int64_t token_stride, int width,
               float* rows);

/// Keys the row sees of a strip of `keys` keys from key_begin on.
inline int64_t visible_keys(const QueryTile& tile, int64_t row, int64_t key_begin, int64_t keys) {
  return std::clamp<int64_t>(tile.token(row) + 1 - key_begin, 0, keys);
}

}  // namespace pivot::attention
