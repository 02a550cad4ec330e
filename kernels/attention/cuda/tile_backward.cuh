#pragma once
/// What the two kernels of the tiled backward pass share. A warp owns 16 rows (keys in one, queries
/// in the other) and holds their pairs with the 64 columns of a tile as score_tile.cuh says. The
/// same registers, rounded to bf16, are the first operand of the products with the tile's rows: P
/// and dS never leave them.

#include <numbers>

#include "kernels/attention/cuda/backward.h"
#include "kernels/attention/cuda/ranking.cuh"
#include "kernels/attention/cuda/score_tile.cuh"
#include "kernels/attention/cuda/tile_load.cuh"
#include "kernels/attention/cuda/tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot::attention {

inline constexpr int kWarpRows = 16;
inline constexpr float kLog2E = std::numbers::log2e_v<float>;
inline constexpr int kBackwardThreads = kBackwardRows / kWarpRows * cuda::kWarp;

struct BackwardJob {
  QkvView qkv;
  const BFloat16* dout;        // (T, H, D)
  BFloat16* dqkv;              // (T, H + 2 G, D)
  const RowStats* stats;       // (H, T)
  const uint8_t* keys_finite;  // (G, T): 1 where all of a key is finite
  const Tile* tiles;           // (tile_count), last rows first
  int32_t tile_count;
  int64_t tokens;
  int group;  // H / G
  float scale;
  RankRule rule;
};

/// Blocks that share a multiprocessor: two of at most 255 registers a thread where the sums take up
/// to 128 of them or ranks are held besides, else three of 168.
template <int D, Sets kSets>
inline constexpr int kBackwardBlocks = D == 128 || kSets == Sets::Shared ? 2 : 3;

/// Scores of a warp's rows with the columns of a tile.
using Scores = float[1][kBackwardRows / 8][4];
/// (16, D) sums of a warp: sums[n] are channels 8 n .. 8 n + 7, laid out as scores.
template <int D>
using Sums = float[D / 8][4];

/// A set of the lane's pairs: bit 4 n + c is the pair of s[0][n][c]. Column block b, 16 columns,
/// has bits 8 b .. 8 b + 7.
using PairMask = uint32_t;
inline constexpr int kColumnBlocks = kBackwardRows / 16;

template <class Predicate>
__device__ __forceinline__ PairMask pairs_where(Predicate holds) {
  PairMask mask = 0;
#pragma unroll
  for (int n = 0; n < kBackwardRows / 8; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) mask |= holds(n, c) ? 1U << (4 * n + c) : 0U;
  }
  return mask;
}
/// True if a lane of the warp has a pair in the column blocks [block, block + Count).
template <int Count>
__device__ __forceinline__ bool any_pair(PairMask mask, int block) {
  constexpr PairMask kBits = (1U << (8 * Count)) - 1;
  return __any_sync(cuda::kAllLanes, (mask & kBits << (8 * block)) != 0) != 0;
}

/// First operands of 16 rows and the 16 columns of a block.
struct Weights {
  uint32_t p[4];
  uint32_t ds[4];
};

/// p = exp(scale s - lse) and scale * dS of the kept pairs, 0 elsewhere (whatever s and dP are
/// there). s and dp may hold all columns or those of one or two blocks. `stats(n, c)` gives the
/// RowStats of the pair's query. The product is rounded before the difference, as where lse was
/// made: a row's only large score then has p = 1, however large.
template <int N, int M, class StatsOf>
__device__ __forceinline__ Weights weigh(const float (&s)[1][N][4], const float (&dp)[1][M][4],
                                         PairMask kept, int block, const BackwardJob& job,
                                         StatsOf stats) {
  Weights w;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int n = 2 * block + i;
    float p[4];
    float ds[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const bool keep = (kept >> (4 * n + c) & 1U) != 0;
      const RowStats row = stats(n, c);
      const float exponent = __fmul_rn(s[0][n % N][c], job.scale) - row.lse;
      const float weight = cuda::exp2_fast(exponent * kLog2E);
      const float change = job.scale * weight * (dp[0][n % M][c] - row.delta);
      p[c] = keep ? weight : 0.0F;
      ds[c] = keep ? change : 0.0F;
    }
    w.p[2 * i] = cuda::pack_bf16(p[0], p[1]);
    w.p[2 * i + 1] = cuda::pack_bf16(p[2], p[3]);
    w.ds[2 * i] = cuda::pack_bf16(ds[0], ds[1]);
    w.ds[2 * i + 1] = cuda::pack_bf16(ds[2], ds[3]);
  }
  return w;
}

/// sums += a (16, 16) times rows [row, row + 16) of the tile.
template <int D>
__device__ __forceinline__ void add_product(Sums<D>& sums, const uint32_t (&a)[4], uint32_t tile,
                                            int row, int lane) {
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    uint32_t b[4];
    load_b_channels<D>(b, tile, row, d, lane);
    cuda::mma_16x8x16(sums[d / 8], a, b[0], b[1]);
    cuda::mma_16x8x16(sums[d / 8 + 1], a, b[2], b[3]);
  }
}

/// The same where the tile is not finite: 0 times infinity is NaN, so pairs that are not kept are
/// left out. `kept` has the column block's bits; `tile` is the tile's memory. Slow and rare.
template <int D>
__device__ __forceinline__ void add_kept_products(Sums<D>& sums, const uint32_t (&a)[4],
                                                  uint32_t kept, const uint8_t* tile, int row,
                                                  int lane) {
#pragma unroll 1
  for (int column = 0; column < 16; ++column) {
    // The lane, of those with this lane's rows, that holds the column, and where.
    const int holder = lane / 4 * 4 + column % 8 / 2;
    const int half = column % 2;
    const uint32_t mask = __shfl_sync(cuda::kAllLanes, kept, holder) >> (column / 8 * 4 + half);
    const uint32_t low = __shfl_sync(cuda::kAllLanes, column < 8 ? a[0] : a[2], holder);
    const uint32_t high = __shfl_sync(cuda::kAllLanes, column < 8 ? a[1] : a[3], holder);
    const float weight[2] = {__uint_as_float(low >> (16 * half) << 16),
                             __uint_as_float(high >> (16 * half) << 16)};
    const bool keep[2] = {(mask & 1U) != 0, (mask & 4U) != 0};
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const auto pair = *reinterpret_cast<const uint32_t*>(tile + tile_offset<D>(row + column, n) +
                                                           4 * (lane % 4));
      const float y[2] = {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (keep[c / 2]) sums[n][c] = fmaf(weight[c / 2], y[c % 2], sums[n][c]);
      }
    }
  }
}

/// Writes the sums of rows [first, first + 16) that lie below `end`, as bf16, to dqkv[., middle,
/// .].
template <int D>
__device__ __forceinline__ void store_sums(const Sums<D>& sums, const BackwardJob& job, int middle,
                                           int32_t first, int32_t end, int lane) {
  const int heads = job.qkv.heads + 2 * job.qkv.kv_heads;
#pragma unroll
  for (int c = 0; c < 4; c += 2) {
    const int32_t row = first + row_in_warp(lane, 0, c);
    if (row >= end) continue;
    BFloat16* to = job.dqkv + (int64_t{row} * heads + middle) * D + 2 * (lane % 4);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      *reinterpret_cast<uint32_t*>(to + 8 * n) = cuda::pack_bf16(sums[n][c], sums[n][c + 1]);
    }
  }
}

}  // namespace pivot::attention
