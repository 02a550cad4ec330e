#pragma once
/// A block of the masked forward (forward.cu tells the whole).

#include "kernels/attention/cuda/forward.h"
#include "kernels/attention/cuda/ranking.cuh"
#include "kernels/attention/cuda/tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace pivot::attention {

inline constexpr int kForwardThreads = 128;
inline constexpr int kForwardKeys = 64;  // of a tile
inline constexpr int kForwardGroups = kForwardKeys / 8;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kLn2 = 0.693147180559945F;

struct ForwardArgs {
  QkvView qkv;
  const Tile* tiles;
  const int32_t* not_finite;  // (G): a value of the KV head is not finite
  const float* tau;
  const int32_t* jcut;
  BFloat16* out;
  float* lse;
  float* lse_visible;  // null if absent, as the two below
  float* entropy;
  int32_t* nan_rows;
  RankRule rule;
  float scale;
  float scale_log2;  // scale / ln 2
};

template <int D>
struct ForwardShared {
  static constexpr int kTileBytes = tile_bytes<D>(kForwardKeys);
  static constexpr int kWeights = 4 * kTileBytes;
  static constexpr int kBad = kWeights + kForwardRows * kForwardKeys * 2;
  static constexpr int kBytes = kBad + kForwardKeys * 4;

  uint8_t* at;

  __device__ __forceinline__ uint32_t key_tile(int stage) const {
    return cuda::shared_address(at) + static_cast<uint32_t>(stage * kTileBytes);
  }
  __device__ __forceinline__ uint32_t value_tile(int stage) const { return key_tile(2 + stage); }
  __device__ __forceinline__ uint4& value_chunk(int stage, int row, int chunk) const {
    return *reinterpret_cast<uint4*>(at + (2 + stage) * kTileBytes + tile_offset<D>(row, chunk));
  }
  /// Pairs of bf16 weights of a row, used for values that are not finite.
  __device__ __forceinline__ uint32_t* weights(int row) const {
    return reinterpret_cast<uint32_t*>(at + kWeights) + row * (kForwardKeys / 2);
  }
  __device__ __forceinline__ int& bad(int row) const {
    return reinterpret_cast<int*>(at + kBad)[row];
  }
};

__device__ __forceinline__ bool all_finite(const uint4& eight) {
  const uint32_t word[4] = {eight.x, eight.y, eight.z, eight.w};
  bool finite = true;
#pragma unroll
  for (const uint32_t w : word) {
    finite = finite && (w & 0x7F80U) != 0x7F80U && (w & 0x7F800000U) != 0x7F800000U;
  }
  return finite;
}

// What a thread holds of its two rows; the sums are its own share until the end.
struct RowSums {
  float max[2];
  float sum[2];
};
__device__ __forceinline__ void over_row_max(float (&x)[2]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    x[i] = cuda::max_nan(x[i], __shfl_xor_sync(cuda::kAllLanes, x[i], 1));
    x[i] = cuda::max_nan(x[i], __shfl_xor_sync(cuda::kAllLanes, x[i], 2));
  }
}
__device__ __forceinline__ float over_row_sum(float x) {
  x += __shfl_xor_sync(cuda::kAllLanes, x, 1);
  return x + __shfl_xor_sync(cuda::kAllLanes, x, 2);
}

using ForwardScores = float[1][kForwardGroups][4];

template <int D, bool Shared, bool Diagnose>
struct ForwardBlock {
  const ForwardArgs& args;
  ForwardShared<D> space;
  int begin;  // of the document
  int first;  // row of the warp
  int last;   // row of the block
  int head;
  int warp;
  int lane;
  RowFragments<D, 1> queries;
  float tau[2], above_tau[2];
  int jcut[2];
  RowSums kept;
  float moment[2];  // sum of p log2 p, before division
  RowSums visible;
  float out[D / 8][4];

  __device__ __forceinline__ ForwardBlock(const ForwardArgs& arguments, const Tile& tile,
                                          int query_head)
      : args(arguments),
        space{cuda::dynamic_shared()},
        begin(tile.begin),
        head(query_head),
        warp(static_cast<int>(threadIdx.x) / cuda::kWarp),
        lane(static_cast<int>(threadIdx.x) % cuda::kWarp) {
    const int rows = tile.end - tile.first;
    first = tile.first + 16 * warp;
    last = tile.first + (rows < kForwardRows ? rows : kForwardRows) - 1;
  }

  __device__ __forceinline__ int row(int i) const { return first + lane / 4 + 8 * i; }
  __device__ __forceinline__ int kv_head() const { return head / args.qkv.group(); }

  __device__ __forceinline__ void start() {
    if constexpr (!Shared) queries.load(args.qkv.queries(head), first, last, lane);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t at = int64_t{row(i) < last ? row(i) : last} * args.qkv.heads + head;
      tau[i] = args.tau[at];
      jcut[i] = args.jcut[at];
      above_tau[i] = rank_score((uint64_t{ordered_bits(tau[i])} + 1) << 32);
      kept.max[i] = visible.max[i] = -kInfinity;
      kept.sum[i] = visible.sum[i] = moment[i] = 0;
    }
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) out[n][c] = 0;
    }
  }

  // Keys that are not visible get the score -inf, as do those that are not kept.
  __device__ __forceinline__ void hide(ForwardScores& s, int key) const {
#pragma unroll
    for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (key + column_in_tile(lane, n, c) > row(c / 2)) s[0][n][c] = -kInfinity;
      }
    }
  }
  __device__ __forceinline__ void keep(ForwardScores& s, const ForwardScores& rank, int key) const {
#pragma unroll
    for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int i = c / 2;
        const int j = key + column_in_tile(lane, n, c);
        const float r = args.rule.rank(rank[0][n][c], j, begin, row(i));
        const bool out_of_set = r < tau[i] || (r == tau[i] && j > jcut[i]) || j > row(i);
        s[0][n][c] = out_of_set ? -kInfinity : r == r ? s[0][n][c] : r;
      }
    }
  }
  // Where jcut lies before or after all keys of the tile, one comparison a score is enough.
  __device__ __forceinline__ bool keep_by_threshold(ForwardScores& s, int key) const {
    float least[2];
    bool enough = true;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool before = key + kForwardKeys - 1 <= jcut[i];
      enough = enough && (before || (key > jcut[i] && tau[i] < kInfinity));
      least[i] = before ? tau[i] : above_tau[i];
    }
    if (__any_sync(cuda::kAllLanes, !enough)) return false;
#pragma unroll
    for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        if (s[0][n][c] < least[c / 2]) s[0][n][c] = -kInfinity;
      }
    }
    return true;
  }

  __device__ __forceinline__ void add_visible(const ForwardScores& s) {
    float top[2] = {-kInfinity, -kInfinity};
#pragma unroll
    for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) top[c / 2] = cuda::max_nan(top[c / 2], s[0][n][c]);
    }
    over_row_max(top);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float before = visible.max[i];
      const float max = cuda::max_nan(before, top[i]);
      const float shift = max == -kInfinity ? 0 : max * args.scale_log2;
      visible.sum[i] *= cuda::exp2_fast(exponent(before, shift));
      visible.max[i] = max;
#pragma unroll
      for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
        for (int c = 2 * i; c < 2 * i + 2; ++c) {
          visible.sum[i] += cuda::exp2_fast(exponent(s[0][n][c], shift));
        }
      }
    }
  }

  // log2 of exp(scale (score - max)), shift = scale_log2 max. The product is rounded as that of the
  // maximum was, or scores of 10^10 would differ from themselves; lse and the backward pass round
  // scale * score for the same reason.
  __device__ __forceinline__ float exponent(float score, float shift) const {
    return __fmul_rn(score, args.scale_log2) - shift;
  }

  // From scores to weights exp2(scale_log2 (s - max)); false if no row of the warp keeps a key.
  __device__ __forceinline__ bool weigh(ForwardScores& s) {
    float top[2] = {-kInfinity, -kInfinity};
#pragma unroll
    for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) top[c / 2] = cuda::max_nan(top[c / 2], s[0][n][c]);
    }
    over_row_max(top);
    if (!__any_sync(cuda::kAllLanes, top[0] != -kInfinity || top[1] != -kInfinity)) return false;
    float fade[2];
    bool moved = false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float before = kept.max[i];
      const float max = cuda::max_nan(before, top[i]);
      const float shift = max == -kInfinity ? 0 : max * args.scale_log2;
      const float drop = exponent(before, shift);
      fade[i] = cuda::exp2_fast(drop);
      moved = moved || max != before;
      kept.max[i] = max;
      if constexpr (Diagnose) {
        if (kept.sum[i] > 0) moment[i] = fade[i] * fmaf(kept.sum[i], drop, moment[i]);
      }
      kept.sum[i] *= fade[i];
#pragma unroll
      for (int n = 0; n < kForwardGroups; ++n) {
#pragma unroll
        for (int c = 2 * i; c < 2 * i + 2; ++c) {
          const float x = exponent(s[0][n][c], shift);
          const float p = cuda::exp2_fast(x);
          kept.sum[i] += p;
          if constexpr (Diagnose) moment[i] += p > 0 ? p * x : 0.0F;
          s[0][n][c] = p;
        }
      }
    }
    if (__any_sync(cuda::kAllLanes, moved)) {
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) out[n][c] *= fade[c / 2];
      }
    }
    return true;
  }

  __device__ __forceinline__ void add_values(const ForwardScores& p, int stage,
                                             bool store_weights) {
#pragma unroll
    for (int k = 0; k < kForwardKeys / 16; ++k) {
      const float(&low)[4] = p[0][2 * k];
      const float(&high)[4] = p[0][2 * k + 1];
      const uint32_t a[4] = {cuda::pack_bf16(low[0], low[1]), cuda::pack_bf16(low[2], low[3]),
                             cuda::pack_bf16(high[0], high[1]), cuda::pack_bf16(high[2], high[3])};
      if (store_weights) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          space.weights(16 * warp + lane / 4 + 8 * (i % 2))[8 * k + 4 * (i / 2) + lane % 4] = a[i];
        }
      }
#pragma unroll
      for (int n = 0; n < D / 8; n += 2) {
        uint32_t b[4];
        load_b_channels<D>(b, space.value_tile(stage), 16 * k, 8 * n, lane);
        cuda::mma_16x8x16(out[n], a, b[0], b[1]);
        cuda::mma_16x8x16(out[n + 1], a, b[2], b[3]);
      }
    }
  }

  // Rows of the value tile that are not finite: zeroed, and marked in space.bad.
  __device__ __forceinline__ void set_bad_rows_aside(int stage) const {
    constexpr int kChunks = D / kChunk;
    const auto thread = static_cast<int>(threadIdx.x);
    if (thread < kForwardKeys) space.bad(thread) = 0;
    __syncthreads();
    for (int i = thread; i < kForwardKeys * kChunks; i += kForwardThreads) {
      if (!all_finite(space.value_chunk(stage, i / kChunks, i % kChunks))) {
        space.bad(i / kChunks) = 1;
      }
    }
    __syncthreads();
    for (int i = thread; i < kForwardKeys * kChunks; i += kForwardThreads) {
      if (space.bad(i / kChunks) != 0) {
        space.value_chunk(stage, i / kChunks, i % kChunks) = make_uint4(0, 0, 0, 0);
      }
    }
    __syncthreads();
  }
  // Adds those rows for the rows that keep them, one product after the other.
  __device__ __forceinline__ void add_bad_rows(int key) {
    __syncwarp();
    for (int j = 0; j < kForwardKeys; ++j) {
      if (space.bad(j) == 0) continue;
      float p[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t pair = space.weights(16 * warp + lane / 4 + 8 * i)[j / 2];
        p[i] = __uint_as_float(j % 2 != 0 ? pair & 0xFFFF0000U : pair << 16);
      }
      const auto* values =
          reinterpret_cast<const uint32_t*>(args.qkv.values(kv_head()).row(key + j)) + lane % 4;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const uint32_t pair = __ldg(values + 4 * n);
        const float value[2] = {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (p[c / 2] != 0) out[n][c] = fmaf(p[c / 2], value[c % 2], out[n][c]);
        }
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void visit_tile(int stage, int key, bool bad_values) {
    ForwardScores rank;
    if constexpr (Shared) {
      group_scores<D, 1, kForwardGroups>(rank, args.qkv, kv_head(), args.rule, first, last,
                                         space.key_tile(stage), 0, lane);
    }
    ForwardScores s;
    if constexpr (Shared) {
      score_tile<D>(s, args.qkv.queries(head), first, last, space.key_tile(stage), 0, lane);
    } else {
      score_tile<D>(s, queries, space.key_tile(stage), 0, lane);
    }
    const bool diagonal = key + kForwardKeys - 1 > first;
    if constexpr (Diagnose) {
      if (diagonal) hide(s, key);
      add_visible(s);
    }
    if constexpr (Shared) {
      keep(s, rank, key);
    } else {
      const bool special = diagonal || args.rule.forces(key, kForwardKeys, begin, first);
      if (special || !keep_by_threshold(s, key)) keep(s, s, key);
    }
    if (!weigh(s)) return;
    add_values(s, stage, bad_values);
    if (bad_values) add_bad_rows(key);
  }

  __device__ __forceinline__ void run() {
    const HeadRows keys = args.qkv.keys(kv_head());
    const HeadRows values = args.qkv.values(kv_head());
    const bool bad_values = args.not_finite[kv_head()] != 0;
    const int tiles = (last - begin) / kForwardKeys + 1;
    const auto thread = static_cast<int>(threadIdx.x);
    const auto load = [&](int t) {
      const int key = begin + kForwardKeys * t;
      load_tile<D, kForwardKeys, kForwardThreads>(space.key_tile(t % 2), keys, key, last + 1,
                                                  thread);
      load_tile<D, kForwardKeys, kForwardThreads>(space.value_tile(t % 2), values, key, last + 1,
                                                  thread);
      cuda::copy_async_commit();
    };
    load(0);
    for (int t = 0; t < tiles; ++t) {
      cuda::copy_async_wait<0>();
      __syncthreads();  // the tiles are there, and those before them are no longer read
      if (t + 1 < tiles) load(t + 1);
      if (bad_values) set_bad_rows_aside(t % 2);
      const int key = begin + kForwardKeys * t;
      if (key <= first + 15) visit_tile(t % 2, key, bad_values);
    }
  }

  __device__ __forceinline__ void write() {
    int nan_rows = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float sum = over_row_sum(kept.sum[i]);
      const bool undefined = !(sum > 0);
      const float nan = std::numeric_limits<float>::quiet_NaN();
      const float divide = undefined ? nan : 1 / sum;
      const float lse = undefined ? nan : __fmul_rn(kept.max[i], args.scale) + logf(sum);
      const bool writes = row(i) <= last;
      const int64_t at = int64_t{row(i)} * args.qkv.heads + head;
      if constexpr (Diagnose) {
        const float all = over_row_sum(visible.sum[i]);
        const float mean = over_row_sum(moment[i]) * divide;
        if (writes && lane % 4 == 0) {
          const bool keeps_all = tau[i] == -kInfinity && jcut[i] == row(i);
          if (args.lse_visible != nullptr) {
            args.lse_visible[at] =
                keeps_all || undefined ? lse : __fmul_rn(visible.max[i], args.scale) + logf(all);
          }
          if (args.entropy != nullptr) args.entropy[at] = logf(sum) * (divide * sum) - mean * kLn2;
        }
      }
      if (writes && lane % 4 == 0) {
        args.lse[at] = lse;
        nan_rows += undefined ? 1 : 0;
      }
      if (writes) {
        auto* to = reinterpret_cast<uint32_t*>(args.out + at * D) + lane % 4;
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
          to[4 * n] = cuda::pack_bf16(out[n][2 * i] * divide, out[n][2 * i + 1] * divide);
        }
      }
    }
    if (args.nan_rows == nullptr) return;
    nan_rows = cuda::warp_sum(nan_rows);
    if (lane == 0 && nan_rows > 0) atomicAdd(args.nan_rows, nan_rows);
  }
};

}  // namespace pivot::attention
