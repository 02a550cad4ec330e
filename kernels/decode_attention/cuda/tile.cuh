#pragma once
/// Tiles of consecutive keys or values in shared memory, scores against them, running softmaxes.
/// Blocks of kThreads; what the functions share has to be fenced by the caller.

#include "kernels/decode_attention/cuda/problem.cuh"

namespace pivot::decode {

inline constexpr int kThreads = 128;
inline constexpr int kWarps = kThreads / cuda::kWarp;
/// Keys of a tile: a page in BF16; in F32 half of one, which holds as many bytes.
template <class T>
inline constexpr int kTileKeys = sizeof(T) == 2 ? 64 : 32;
/// Rows of query heads that one tensor-core product takes.
inline constexpr int kQueryRows = 16;

/// How rows of D elements lie in shared memory: BF16 rows are filled up with zeros to a multiple of
/// the 16 channels of a tensor-core step; 16 bytes more put eight rows into different banks.
template <class T>
struct RowShape {
  int width, padded, stride;

  PIVOT_HD explicit RowShape(int head_dim)
      : width(head_dim),
        padded(sizeof(T) == 2 ? (head_dim + 15) / 16 * 16 : head_dim),
        stride(padded + cuda::kLanes<T>) {}
  PIVOT_HD int tile_bytes() const { return kTileKeys<T> * stride * static_cast<int>(sizeof(T)); }
};

/// Which 16 bytes of which rows a thread loads and sums: rows first, first + step, ...
template <class T>
struct Lanes {
  int first, step, column;
  bool active;

  __device__ explicit Lanes(int width) {
    const int packs = width / cuda::kLanes<T>;
    step = kThreads / packs;
    first = static_cast<int>(threadIdx.x) / packs;
    column = static_cast<int>(threadIdx.x) % packs * cuda::kLanes<T>;
    active = first < step;
  }
};

/// Starts to load rows [0, count) of `from` (row, D); the others become zeros.
template <class T>
__device__ void load_tile(T* tile, const T* from, int count, const RowShape<T>& shape,
                          const Lanes<T>& lanes) {
  if (!lanes.active) return;
  for (int r = lanes.first; r < kTileKeys<T>; r += lanes.step) {
    const bool valid = r < count;
    cuda::copy_async_16(cuda::shared_address(tile + r * shape.stride + lanes.column),
                        from + (valid ? r * shape.width + lanes.column : 0), valid);
  }
}

/// Zeros the columns [D, padded) of `rows` rows, which no load touches.
template <class T>
__device__ void clear_padding(T* rows_at, int rows, const RowShape<T>& shape) {
  const int columns = shape.padded - shape.width;
  for (int i = static_cast<int>(threadIdx.x); i < rows * columns; i += kThreads) {
    rows_at[i / columns * shape.stride + shape.width + i % columns] = T{};
  }
}

/// Queries of `heads` heads of a sequence into rows of shared memory, zeros up to row `rows`.
template <class T>
__device__ void load_queries(T* to, const T* from, int heads, int rows, const RowShape<T>& shape) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * shape.padded; i += kThreads) {
    const int r = i / shape.padded;
    const int c = i % shape.padded;
    to[r * shape.stride + c] = r < heads && c < shape.width ? from[r * shape.width + c] : T{};
  }
}

/// scores (rows, kTileKeys) of the keys of a tile with `rows` queries, a multiple of kQueryRows.
/// The bits of training: tensor-core steps of 16 channels, ascending, from a zero accumulator.
__device__ inline void score_tile(float* scores, const BFloat16* queries, const BFloat16* keys,
                                  int rows, int /*heads*/, const RowShape<BFloat16>& shape) {
  constexpr int kKeys = kTileKeys<BFloat16>;
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp;
  const int first_key = static_cast<int>(threadIdx.x) / cuda::kWarp * (kKeys / kWarps);
  static_assert(kKeys / kWarps == 16, "a warp has two products of 8 keys");
  // Matrices of load_matrix: queries 0-7, 8-15, then their next 8 channels; of the keys 0-7 both
  // halves of the channels, then 8-15.
  const int query_row = lane / 8 % 2 * 8 + lane % 8;
  const int key_row = first_key + lane / 16 * 8 + lane % 8;
  const uint32_t query_at =
      cuda::shared_address(queries + query_row * shape.stride + lane / 16 * 8);
  const uint32_t key_at = cuda::shared_address(keys + key_row * shape.stride + lane / 8 % 2 * 8);
  for (int row = 0; row < rows; row += kQueryRows) {
    float low[4] = {}, high[4] = {};
    const uint32_t rows_at = query_at + static_cast<uint32_t>(row * shape.stride * 2);
#pragma unroll 4
    for (int c = 0; c < shape.padded; c += 16) {
      uint32_t a[4], b[4];
      cuda::load_matrix_x4(a, rows_at + static_cast<uint32_t>(c * 2));
      cuda::load_matrix_x4(b, key_at + static_cast<uint32_t>(c * 2));
      cuda::mma_16x8x16(low, a, b[0], b[1]);
      cuda::mma_16x8x16(high, a, b[2], b[3]);
    }
    float* out = scores + (row + lane / 4) * kKeys + first_key + lane % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* at = out + half * 8 * kKeys;
      at[0] = low[2 * half];
      at[1] = low[2 * half + 1];
      at[8] = high[2 * half];
      at[9] = high[2 * half + 1];
    }
  }
}

/// The same in F32, for the first `heads` rows: chains of fused multiply-adds, ascending.
__device__ inline void score_tile(float* scores, const float* queries, const float* keys,
                                  int /*rows*/, int heads, const RowShape<float>& shape) {
  constexpr int kKeys = kTileKeys<float>;
  const int key = static_cast<int>(threadIdx.x) % kKeys;
  const float* k = keys + key * shape.stride;
  for (int h = static_cast<int>(threadIdx.x) / kKeys; h < heads; h += kThreads / kKeys) {
    const float* q = queries + h * shape.stride;
    float sum = 0;
    for (int c = 0; c < shape.width; ++c) sum = fmaf(q[c], k[c], sum);
    scores[h * kKeys + key] = sum;
  }
}

/// A running softmax of one head: sums are relative to the largest score so far.
struct Running {
  float max, sum;
};

/// One warp takes in the scores of `count` keys. Returns the factor by which sums so far have to be
/// multiplied; with `weights` the scores become exp(scale * (score - max)). A NaN score makes the
/// sum NaN.
template <bool Weights>
__device__ __forceinline__ float take_scores(Running* running, float* scores, int count,
                                             float scale) {
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp;
  const Running before = *running;
  float top = before.max;
  for (int i = lane; i < count; i += cuda::kWarp) top = fmaxf(top, scores[i]);
  top = cuda::warp_max(top);
  // With nothing but -inf so far every weight is 0, not exp(-inf + inf).
  const float base = top == -kInfinity ? 0.0F : top;
  const float factor = before.max == -kInfinity ? 0.0F : expf(scale * (before.max - base));
  float sum = 0;
  for (int i = lane; i < count; i += cuda::kWarp) {
    const float weight = expf(scale * (scores[i] - base));
    if (Weights) scores[i] = weight;
    sum += weight;
  }
  sum = cuda::warp_sum(sum);
  // An empty sum stays one; a NaN in it stays too.
  const float kept = before.sum == 0 ? 0.0F : before.sum * factor;
  __syncwarp();  // all lanes have read it
  if (lane == 0) *running = {top, kept + sum};
  return factor;
}

}  // namespace pivot::decode
