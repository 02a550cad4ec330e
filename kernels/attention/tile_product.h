#pragma once
/// Small matrix product, the arithmetic of every attention tile: fp32 fused multiply-adds in index
/// order, so that each result is one chain of its own operands whatever the blocking.

#include <cstdint>

namespace pivot {

struct TileProduct {
  float* c;  // in-out (rows, columns), row r at c + r * c_stride
  int64_t c_stride;
  const float* a;  // in (rows, inner), element (r, i) at a + r * a_row + i * a_inner
  int64_t a_row;
  int64_t a_inner;
  const float* b;  // in (inner, columns), row i at b + i * b_stride
  int64_t b_stride;
  int64_t rows;
  int64_t columns;  // a multiple of 8
  int64_t inner;
};

/// c = a b:  c[r][n] = fma chain over i in ascending order from 0.
void tile_product(const TileProduct& p);
/// c += a b:  the chain starts from c[r][n].
void add_tile_product(const TileProduct& p);

}  // namespace pivot
