#include "kernels/attention/tile_product.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/score_tile.h"

// Compiled with -ffp-contract=fast: a * b + c of vectors becomes one fused operation, which the
// tests of score bits prove. GCC has no portable spelling of a fused vector operation.

namespace pivot {
namespace {

// Expands to "1" where the machine has a fast fma and to the macro's own name elsewhere.
#define PIVOT_QUOTE(x) #x
#define PIVOT_QUOTE_VALUE(x) PIVOT_QUOTE(x)
constexpr bool kFastFma = PIVOT_QUOTE_VALUE(__FP_FAST_FMAF)[0] == '1';

template <int kLanes>
struct VectorOf {
  using Value __attribute__((vector_size(kLanes * 4))) = float;
  using Memory __attribute__((vector_size(kLanes * 4), aligned(4), may_alias)) = float;
};

// Lanes of the widest register, from 4 (SSE, NEON) to 16 (AVX-512).
constexpr int kNativeLanes = __BIGGEST_ALIGNMENT__ / 4;

template <int kLanes>
[[gnu::always_inline]] inline typename VectorOf<kLanes>::Value fused(
    float a, typename VectorOf<kLanes>::Value b, typename VectorOf<kLanes>::Value c) {
  if constexpr (kFastFma) {
    return a * b + c;
  } else {
    for (int l = 0; l < kLanes; ++l) c[l] = std::fma(a, b[l], c[l]);
    return c;
  }
}

enum class Start { Zero, C };

/// kShape of a block: registers of kLanes lanes, kRows x kVectors of them as accumulators.
template <int kLanes, int kVectors>
struct Block {
  using Value = typename VectorOf<kLanes>::Value;
  using Memory = typename VectorOf<kLanes>::Memory;
  static constexpr int kColumns = kLanes * kVectors;

  template <int kRows, Start kStart>
  [[gnu::always_inline]] static inline void run(const TileProduct& p, int64_t row, int64_t column) {
    const int64_t a_row = p.a_row;
    const float* a = p.a + row * a_row;
    const float* b = p.b + column;
    float* c = p.c + row * p.c_stride + column;
    Value sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = kStart == Start::C
                        ? Value(*reinterpret_cast<const Memory*>(c + r * p.c_stride + v * kLanes))
                        : Value{};
      }
    }
    for (int64_t i = 0; i < p.inner; ++i, a += p.a_inner, b += p.b_stride) {
      Value right[kVectors];
      for (int v = 0; v < kVectors; ++v)
        right[v] = *reinterpret_cast<const Memory*>(b + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const float left = a[r * a_row];
        for (int v = 0; v < kVectors; ++v) sum[r][v] = fused<kLanes>(left, right[v], sum[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        *reinterpret_cast<Memory*>(c + r * p.c_stride + v * kLanes) = sum[r][v];
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
