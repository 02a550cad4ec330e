#include "kernels/attention/tile_product.h"

#include <algorithm>

#include "kernels/attention/score_tile.h"
#include "kernels/attention/vector.h"

namespace pivot {
namespace {

using vector::broadcast;
using vector::fused;
using vector::kNativeLanes;
using vector::load;
using vector::store;
using vector::Vector;

enum class Start { Zero, C };

/// A block of kRows rows and kVectors registers of kLanes columns, all sums in registers.
template <int kLanes, int kVectors>
struct Block {
  static constexpr int kColumns = kLanes * kVectors;

  template <int kRows, Start kStart>
  [[gnu::always_inline]] static inline void run(const TileProduct& p, int64_t row, int64_t column) {
    const int64_t a_row = p.a_row;
    const float* a = p.a + row * a_row;
    const float* b = p.b + column;
    float* c = p.c + row * p.c_stride + column;
    Vector<kLanes> sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = Vector<kLanes>{};
        if constexpr (kStart == Start::C) sum[r][v] = load<kLanes>(c + r * p.c_stride + v * kLanes);
      }
    }
    for (int64_t i = 0; i < p.inner; ++i, a += p.a_inner, b += p.b_stride) {
      Vector<kLanes> right[kVectors];
      for (int v = 0; v < kVectors; ++v) right[v] = load<kLanes>(b + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const Vector<kLanes> left = broadcast<kLanes>(a[r * a_row]);
        for (int v = 0; v < kVectors; ++v) sum[r][v] = fused<kLanes>(left, right[v], sum[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        store<kLanes>(c + r * p.c_stride + v * kLanes, sum[r][v]);
      }
    }
  }

  // 16 accumulators hide the latency of AVX-512 and NEON and fit their 32 registers; narrower x86
  // has 16 registers, hence half the rows.
  static constexpr int kBlockRows = kNativeLanes >= 16 ? 8 : 4;

  template <Start kStart>
  static void rows(const TileProduct& p, int64_t column) {
    int64_t row = 0;
    for (; row + kBlockRows <= p.rows; row += kBlockRows) run<kBlockRows, kStart>(p, row, column);
    if (p.rows - row >= 4) {
      run<4, kStart>(p, row, column);
      row += 4;
    }
    if (p.rows - row >= 2) {
      run<2, kStart>(p, row, column);
      row += 2;
    }
    if (p.rows - row >= 1) run<1, kStart>(p, row, column);
  }
};

template <Start kStart>
void product(const TileProduct& p) {
  using Wide = Block<kNativeLanes, 2>;
  using Single = Block<kNativeLanes, 1>;
  int64_t column = 0;
  for (; column + Wide::kColumns <= p.columns; column += Wide::kColumns) {
    Wide::rows<kStart>(p, column);
  }
  for (; column + Single::kColumns <= p.columns; column += Single::kColumns) {
    Single::rows<kStart>(p, column);
  }
  constexpr int kHalf = std::max(4, kNativeLanes / 2);
  for (; column + kHalf <= p.columns; column += kHalf)
    Block<kHalf, 1>::template rows<kStart>(p, column);
}

}  // namespace

void tile_product(const TileProduct& p) {
  product<Start::Zero>(p);
}
void add_tile_product(const TileProduct& p) {
  product<Start::C>(p);
}

void score_rows(const ScoreRows& a) {
  for (int64_t t = 0; t < a.tile_count; ++t) {
    tile_product({.c = a.scores + t * kTileKeys,
                  .c_stride = a.score_stride,
                  .a = a.queries,
                  .a_row = a.query_stride,
                  .a_inner = 1,
                  .b = a.tiles + t * key_tile_floats(a.width),
                  .b_stride = kTileKeys,
                  .rows = a.rows,
                  .columns = kTileKeys,
                  .inner = a.width});
  }
}

}  // namespace pivot
