#pragma once
/// How the CUDA twin cuts the logits (N, V) into chunks of rows.

#include <algorithm>
#include <cstdint>

#include "kernels/cross_entropy/cross_entropy.h"

namespace pivot {

// A chunk is as large as fits into 256 MiB: the fewer chunks, the less often dw (V, C) F32 is read
// and written. Below 1024 rows that traffic (8 V C bytes) would outweigh the product's own time,
// above 8192 nothing is gained.
inline constexpr int64_t kChunkBytes = int64_t{256} << 20;
inline constexpr int64_t kLeastChunkRows = 1024;
inline constexpr int64_t kMostChunkRows = 8192;
// Rows of logits begin at multiples of this many elements: every vocabulary then has aligned rows,
// which tensor cores need to be fast, and 16-byte accesses.
inline constexpr int64_t kLogitAlignment = 64;

struct LogitChunks {
  int64_t rows;    // of every chunk but the last
  int64_t stride;  // between rows, in elements of x's dtype
};

inline LogitChunks logit_chunks(const LinearCrossEntropy& a) {
  const int64_t vocab = a.w.dim(0);
  const int64_t stride = (vocab + kLogitAlignment - 1) / kLogitAlignment * kLogitAlignment;
  const int64_t row_bytes = stride * static_cast<int64_t>(dtype_bytes(a.x.dtype));
  int64_t rows = kMostChunkRows;
  while (rows > kLeastChunkRows && rows * row_bytes > kChunkBytes) rows /= 2;
  return {std::min(rows, a.x.dim(0)), stride};
}

}  // namespace pivot
