#pragma once
/// Tiles of consecutive rows of one document, listed on the device: launches then depend on the
/// number of tokens and documents only, not on where documents begin.

#include "src/core/context.h"

namespace pivot::attention {

/// Rows [first, min(first + rows, end)) of the packed tensor. Tiles are cut from the document's
/// first row on, so that a document gives the same bits alone and packed. Unused entries are empty:
/// first = end.
struct Tile {
  int32_t begin;  // first row of the document
  int32_t end;    // one past its last row
  int32_t first;  // first row of the tile, begin + a multiple of `rows`
};

/// Upper bound of the number of tiles.
constexpr int64_t tile_bound(int64_t tokens, int64_t documents, int64_t rows) {
  return (tokens + rows - 1) / rows + documents;
}

/// Fills tiles (tile_bound, 3) I32 in ctx.scratch, the last rows of the tensor first (in a causal
/// pass they take longest). doc_offsets (n + 1) I32.
Tensor list_tiles(const Tensor& doc_offsets, int64_t tokens, int64_t rows, Context& ctx);
constexpr size_t tiles_scratch(int64_t tokens, int64_t documents, int64_t rows) {
  return (static_cast<size_t>(tile_bound(tokens, documents, rows)) * sizeof(Tile) + 63) / 64 * 64;
}

}  // namespace pivot::attention
