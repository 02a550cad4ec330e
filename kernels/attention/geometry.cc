#include "kernels/attention/geometry.h"

namespace pivot::attention {

std::vector<Document> documents_of(const Tensor& offsets, int64_t tokens, int64_t max_document) {
  const int32_t* at = offsets.as<int32_t>();
  const int64_t count = offsets.dim(0) - 1;
  PIVOT_CHECK(at[0] == 0 && at[count] == tokens, "documents cover [{}, {}) of {} tokens", at[0],
              at[count], tokens);
  std::vector<Document> documents;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length = int64_t{at[i + 1]} - at[i];
    PIVOT_CHECK(length >= 0 && length <= max_document, "document {} has {} tokens, at most {}", i,
                length, max_document);
    if (length > 0) documents.push_back({at[i], length});
  }
  return documents;
}

void score_strip(const QueryTile& tile, int64_t key_begin, int64_t keys, const float* queries,
                 const float* key_tiles, int width, float* scores, int64_t stride) {
  for_visible_parts(tile, key_begin, keys, [&](const Part& part) {
    score_rows({.scores = scores + part.row * stride + part.key,
                .score_stride = stride,
                .queries = queries + part.row * width,
                .query_stride = width,
                .rows = part.rows,
                .tiles = key_tiles + part.key * width,
                .tile_count = (part.keys + kTileKeys - 1) / kTileKeys,
                .width = width});
  });
}

void load_rows(const QueryTile& tile, const float* from, int64_t token_stride, int width,
               float* rows) {
  for (int64_t row = 0; row < tile.rows(); ++row) {
    const float* source = from + tile.token(row) * token_stride + row / tile.count * int64_t{width};
    std::copy(source, source + width, rows + row * width);
  }
}

}  // namespace pivot::attention
