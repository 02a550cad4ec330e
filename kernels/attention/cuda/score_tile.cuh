#pragma once
/// Scores of a tile as every kernel of the tiled path computes them: bf16 products, ascending steps
/// of 16 channels, one accumulator from zero (kernels/cuda/mma.cuh). A score's bits depend on its
/// query and key alone, and are the same for S = Q K^T and S^T = K Q^T.
///
/// A warp owns 16 M consecutive rows. Lane l holds, with g = l / 4 and t = l % 4, of s[M][N][4]
///   s[m][n][c] = row 16 m + g + 8 (c / 2), column 8 n + 2 t + c % 2
/// (row_in_warp, column_in_tile).

#include <cstdint>

#include "kernels/attention/cuda/tile_load.cuh"

namespace pivot::attention {

/// Row of s[m][.][c] among the warp's rows.
__device__ __forceinline__ int row_in_warp(int lane, int m, int c) {
  return 16 * m + lane / 4 + 8 * (c / 2);
}
/// Column of s[.][n][c] among the columns of s.
__device__ __forceinline__ int column_in_tile(int lane, int n, int c) {
  return 8 * n + 2 * (lane % 4) + c % 2;
}

/// 16 rows from `first` on as the first operand of channels [16 k, 16 k + 16), from global memory;
/// rows after `last` repeat it.
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const HeadRows& rows, int first, int last,
                                       int k, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + row_in_warp(lane, 0, 2 * half);
    const auto* pairs =
        reinterpret_cast<const uint32_t*>(rows.row(row < last ? row : last)) + lane % 4;
    a[half] = __ldg(pairs + 8 * k);
    a[2 + half] = __ldg(pairs + 8 * k + 4);
  }
}

/// 16 M rows as first operands, kept in registers: M * D / 4 of them.
template <int D, int M>
struct RowFragments {
  uint32_t a[M][D / 16][4];

  /// Rows [row, row + 16 M) of a tile in shared memory.
  __device__ __forceinline__ void load(uint32_t tile, int row, int lane) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int k = 0; k < D / 16; ++k) load_a<D>(a[m][k], tile, row + 16 * m, 16 * k, lane);
    }
  }
  /// Rows [first, first + 16 M) of a head, from global memory; those after `last` repeat it.
  __device__ __forceinline__ void load(const HeadRows& rows, int first, int last, int lane) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int k = 0; k < D / 16; ++k) load_a(a[m][k], rows, first + 16 * m, last, k, lane);
    }
  }
};

/// s = the scores of 16 M rows with rows [column, column + 8 N) of `tile`; operand(a, m, k)
/// sets a to the first operand of rows [16 m, 16 m + 16) and channels [16 k, 16 k + 16).
/// `Steps` of the D / 16 steps are unrolled.
template <int D, int Steps, int M, int N, class Operand>
__device__ __forceinline__ void score_tile_by(float (&s)[M][N][4], const Operand& operand,
                                              uint32_t tile, int column, int lane) {
  static_assert(N % 2 == 0);
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) s[m][n][c] = 0;
    }
  }
#pragma unroll Steps
  for (int k = 0; k < D / 16; ++k) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) operand(a[m], m, k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      load_b_rows<D>(b, tile, column + 8 * n, 16 * k, lane);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        cuda::mma_16x8x16(s[m][n], a[m], b[0], b[1]);
        cuda::mma_16x8x16(s[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

/// The rows in registers.
template <int D, int M, int N>
__device__ __forceinline__ void score_tile(float (&s)[M][N][4], const RowFragments<D, M>& rows,
                                           uint32_t tile, int column, int lane) {
  const auto operand = [&](uint32_t(&a)[4], int m, int k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = rows.a[m][k][i];
  };
  score_tile_by<D, D / 16>(s, operand, tile, column, lane);
}
/// The rows from `row` on of a tile in shared memory, read each time (fewer registers).
template <int D, int M, int N>
__device__ __forceinline__ void score_tile(float (&s)[M][N][4], uint32_t row_tile, int row,
                                           uint32_t tile, int column, int lane) {
  const auto operand = [&](uint32_t(&a)[4], int m, int k) {
    load_a<D>(a, row_tile, row + 16 * m, 16 * k, lane);
  };
  score_tile_by<D, D / 16>(s, operand, tile, column, lane);
}
/// The rows from `first` on of a head in global memory, read each time: where there are neither
/// registers nor shared memory to keep them.
template <int D, int M, int N>
__device__ __forceinline__ void score_tile(float (&s)[M][N][4], const HeadRows& rows, int first,
                                           int last, uint32_t tile, int column, int lane) {
  const auto operand = [&](uint32_t(&a)[4], int m, int k) {
    load_a(a, rows, first + 16 * m, last, k, lane);
  };
  score_tile_by<D, 1>(s, operand, tile, column, lane);
}

}  // namespace pivot::attention
