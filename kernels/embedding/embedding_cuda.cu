#include "kernels/cuda/aligned.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/raw_pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sorted_rows.h"

namespace pivot {
namespace {

using cuda::kLanes;
using cuda::kWarp;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Forward ------------------------------------------------------------------------------------

/// A warp has a row. Rows of tokens outside the vocabulary, which the host refuses, are NaN.
template <class T, bool Packed>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(T* __restrict__ y, const T* __restrict__ table,
                   const int32_t* __restrict__ tokens, int64_t rows, int64_t vocab, int64_t width) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t n =
      static_cast<int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (n >= rows) return;
  const int64_t token = tokens[n];
  T* const out = y + n * width;
  if (token < 0 || token >= vocab) {
    const T nan = cuda::from_float<T>(__uint_as_float(0x7FC00000U));
    for (int64_t c = lane; c < width; c += kWarp) out[c] = nan;
    return;
  }
  const T* const row = table + token * width;
  if constexpr (Packed) {
    constexpr int kPacks = 4;  // that are on their way together
    constexpr int kStep = kWarp * kLanes<T>;
    for (int64_t c = lane * kLanes<T>; c < width; c += kPacks * kStep) {
      uint4 raw[kPacks];
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        raw[k] = cuda::load_raw(row + (c + k * kStep < width ? c + k * kStep : c));
      }
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        if (c + k * kStep < width) cuda::store_raw(out + c + k * kStep, raw[k]);
      }
    }
  } else {
    for (int64_t c = lane; c < width; c += kWarp) out[c] = row[c];
  }
}

// Backward: the order of rows ----------------------------------------------------------------
//
// Keys (token, n), all different, are sorted: rows of a token stand together, in the order of n.

__device__ __forceinline__ uint32_t token_of(uint64_t key) {
  return static_cast<uint32_t>(key >> 32);
}
__device__ __forceinline__ int64_t row_of(uint64_t key) {
  return static_cast<int64_t>(key & 0xFFFFFFFFU);
}

constexpr int kSortThreads = static_cast<int>(kSortTile) / 2;

/// Sorts tiles of keys (bitonic sort). Beyond the tokens stand keys that come last.
__global__ void __launch_bounds__(kSortThreads)
    sort_tiles_kernel(uint64_t* keys, const int32_t* tokens, int64_t count) {
  __shared__ uint64_t tile[kSortTile];
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSortTile;
  for (int i = thread; i < kSortTile; i += kSortThreads) {
    const int64_t n = first + i;
    const uint32_t token = n < count ? static_cast<uint32_t>(tokens[n]) : 0xFFFFFFFFU;
    tile[i] = static_cast<uint64_t>(token) << 32 | static_cast<uint64_t>(n);
  }
  __syncthreads();
  for (int size = 2; size <= kSortTile; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      const int low = 2 * thread - (thread & (step - 1));
      const bool ascending = (low & size) == 0;
      const uint64_t a = tile[low];
      const uint64_t b = tile[low + step];
      if ((a > b) == ascending) {
        tile[low] = b;
        tile[low + step] = a;
      }
      __syncthreads();
    }
  }
  for (int i = thread; i < kSortTile; i += kSortThreads) keys[first + i] = tile[i];
}

/// How many of the ascending keys[0 .. count) are below `key`.
__device__ __forceinline__ int64_t count_below(const uint64_t* keys, int64_t count, uint64_t key) {
  int64_t low = 0;
  while (low < count) {
    const int64_t middle = (low + count) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      count = middle;
    }
  }
  return low;
}

// Sixteen runs make one: 32768 tokens, 16 tiles, are sorted after one pass.
constexpr int kMergeWays = 16;

/// Merges every kMergeWays neighbouring runs of `length` keys, a power of two (the last run may be
/// shorter): a key's place is the number of smaller keys in all of them. The searches of a thread
/// take their steps together, so that their loads overlap.
__global__ void __launch_bounds__(kThreads)
    merge_runs_kernel(uint64_t* merged, const uint64_t* keys, int64_t count, int64_t length) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const uint64_t key = keys[at];
  const int64_t group = at / (length * kMergeWays) * (length * kMergeWays);
  int64_t below[kMergeWays];  // group + run * length + smaller keys found in the run
#pragma unroll
  for (int run = 0; run < kMergeWays; ++run) below[run] = group + run * length;
  for (int64_t step = length / 2; step > 0; step /= 2) {
#pragma unroll
    for (int run = 0; run < kMergeWays; ++run) {
      const int64_t last = below[run] + step - 1;
      if (last < count && keys[last] < key) below[run] += step;
    }
  }
  int64_t place = group;
#pragma unroll
  for (int run = 0; run < kMergeWays; ++run) {
    if (below[run] < count && keys[below[run]] < key) ++below[run];
    place += below[run] - (group + run * length);
  }
  merged[place] = key;
}

// Backward: sums -----------------------------------------------------------------------------

template <class T>
struct Sums {
  float* dtable;
  float* partial;  // (2, slots, width): of full and of last chunks of runs of several chunks
  const T* dy;
  const uint64_t* keys;  // sorted
  int64_t count;
  int64_t vocab;
  int64_t width;
  int64_t slots;
};

template <class T>
__device__ __forceinline__ bool same_token(const Sums<T>& a, int64_t at, uint32_t token) {
  return at >= 0 && at < a.count && token_of(a.keys[at]) == token;
}

/// Whether a chunk begins at `at`: at every kChunkRows-th row of a token.
template <class T>
__device__ bool chunk_begins(const Sums<T>& a, int64_t at) {
  if (at >= a.count) return false;
  const uint32_t token = token_of(a.keys[at]);
  if (token >= static_cast<uint64_t>(a.vocab)) return false;
  if (!same_token(a, at - 1, token)) return true;
  if (!same_token(a, at - kChunkRows, token)) return false;
  const int64_t begin = count_below(a.keys, at, static_cast<uint64_t>(token) << 32);
  return (at - begin) % kChunkRows == 0;
}

/// The sum of the chunk that begins at `at`, of `rows` rows.
template <class T>
__device__ __forceinline__ float* chunk_sum(const Sums<T>& a, int64_t at, int64_t rows) {
  const int64_t kind = rows == kChunkRows ? 0 : a.slots;
  return a.partial + (kind + at / kChunkRows) * a.width;
}

// Packs of a row that a lane adds, in registers: 512 channels in bf16 for a warp.
constexpr int kSlabPacks = 2;
// Sorted positions a warp looks at: as many rows on average, and 4096 warps at 32768 tokens.
constexpr int kWarpPositions = 8;

/// out[c] = (or +=) value[c] for the lane's channels of a slab.
template <class T, int Width, bool Accumulate>
__device__ __forceinline__ void store_sums(float* out, const float (&value)[kSlabPacks][Width],
                                           int64_t first, int64_t width) {
#pragma unroll
  for (int k = 0; k < kSlabPacks; ++k) {
    const int64_t c = first + k * kWarp * Width;
    if (c >= width) continue;
    if constexpr (Width == 1) {
      out[c] = Accumulate ? out[c] + value[k][0] : value[k][0];
    } else {
#pragma unroll
      for (int i = 0; i < Width; i += kLanes<float>) {
        cuda::Pack<float> pack{};
        if constexpr (Accumulate) pack = cuda::load_pack(out + c + i);
#pragma unroll
        for (int j = 0; j < kLanes<float>; ++j) pack.value[j] += value[k][i + j];
        cuda::store_pack(out + c + i, pack);
      }
    }
  }
}

/// Adds Rows rows, of which the lanes r, r + 1, ... hold the numbers in `n`, to the lane's sums, in
/// order, after all their loads. There are no conditions around the loads, which would keep them
/// from overlapping: channels beyond the row are read as its first ones and not stored.
template <int Rows, class T, int Width>
__device__ __forceinline__ void add_rows(float (&sum)[kSlabPacks][Width], const T* dy, int n, int r,
                                         int64_t first, int64_t width) {
  uint4 raw[Rows][kSlabPacks];
#pragma unroll
  for (int j = 0; j < Rows; ++j) {
    const T* const row = dy + __shfl_sync(cuda::kAllLanes, n, r + j) * width;
#pragma unroll
    for (int k = 0; k < kSlabPacks; ++k) {
      const int64_t c = first + k * kWarp * Width;
      const T* const at = row + (c < width ? c : 0);
      if constexpr (Width == 1) {
        raw[j][k].x = __float_as_uint(cuda::as_float(*at));
      } else {
        raw[j][k] = cuda::load_raw(at);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < Rows; ++j) {
#pragma unroll
    for (int k = 0; k < kSlabPacks; ++k) {
      if constexpr (Width == 1) {
        sum[k][0] += __uint_as_float(raw[j][k].x);
      } else {
        const cuda::Pack<T> pack = cuda::unpack<T>(raw[j][k]);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum[k][i] += pack.value[i];
      }
    }
  }
}

/// Sums the chunks that begin at the warp's kWarpPositions; the y dimension of the grid are slabs
/// of channels. A token's only chunk goes to dtable, the others to `partial`.
template <class T, int Width>
__global__ void __launch_bounds__(kThreads) sum_chunks_kernel(Sums<T> a) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t warp =
      static_cast<int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  const int64_t slab = static_cast<int64_t>(blockIdx.y) * kWarp * kSlabPacks * Width;
  const int64_t first = slab + lane * Width;
  const int64_t positions = warp * kWarpPositions;
  uint32_t begins =
      __ballot_sync(cuda::kAllLanes, lane < kWarpPositions && chunk_begins(a, positions + lane));
  while (begins != 0) {
    const int64_t at = positions + __ffs(static_cast<int>(begins)) - 1;
    begins &= begins - 1;
    const uint32_t token = token_of(a.keys[at]);
    float sum[kSlabPacks][Width] = {};
    int rows = 0;
    // A warp of rows at a time: lane l holds the number of the l-th.
    for (int part = 0; part < kChunkRows; part += kWarp) {
      const bool here = same_token(a, at + part + lane, token);
      const int found = __popc(__ballot_sync(cuda::kAllLanes, here));
      const int n = here ? static_cast<int>(row_of(a.keys[at + part + lane])) : 0;
      int r = 0;
      for (; r + 4 <= found; r += 4) add_rows<4>(sum, a.dy, n, r, first, a.width);
      for (; r < found; ++r) add_rows<1>(sum, a.dy, n, r, first, a.width);
      rows += found;
      if (found < kWarp) break;
    }
    const bool only = !same_token(a, at - 1, token) && !same_token(a, at + kChunkRows, token);
    if (only) {
      store_sums<T, Width, true>(a.dtable + token * a.width, sum, first, a.width);
    } else {
      store_sums<T, Width, false>(chunk_sum(a, at, rows), sum, first, a.width);
    }
  }
}

/// Adds the chunks of every run of several to dtable, in their order. A warp looks at kWarp sorted
/// positions, of which at most one begins such a run.
template <class T>
__global__ void __launch_bounds__(kThreads) add_runs_kernel(Sums<T> a) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t warp =
      static_cast<int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  const int64_t mine = warp * kWarp + lane;
  const uint32_t mine_token = mine < a.count ? token_of(a.keys[mine]) : 0xFFFFFFFFU;
  const bool begins = mine_token < static_cast<uint64_t>(a.vocab) &&
                      !same_token(a, mine - 1, mine_token) &&
                      same_token(a, mine + kChunkRows, mine_token);
  const uint32_t found = __ballot_sync(cuda::kAllLanes, begins);
  if (found == 0) return;
  const int64_t begin = warp * kWarp + __ffs(static_cast<int>(found)) - 1;
  const uint32_t token = token_of(a.keys[begin]);
  const int64_t end =
      begin + count_below(a.keys + begin, a.count - begin, (uint64_t{token} + 1) << 32);
  for (int64_t c = static_cast<int64_t>(blockIdx.y) * kWarp + lane; c < a.width;
       c += static_cast<int64_t>(gridDim.y) * kWarp) {
    float sum = a.dtable[token * a.width + c];
#pragma unroll 8
    for (int64_t at = begin; at < end; at += kChunkRows) {
      sum += chunk_sum(a, at, end - at < kChunkRows ? end - at : kChunkRows)[c];
    }
    a.dtable[token * a.width + c] = sum;
  }
}

/// The sorted keys, in one of two buffers of `padded` keys.
const uint64_t* sorted(uint64_t* keys, const Tensor& tokens, int64_t padded, cudaStream_t stream) {
  uint64_t* from = keys;
  uint64_t* to = keys + padded;
  cuda::launch(&sort_tiles_kernel, dim3(cuda::grid_size(padded / kSortTile)), dim3(kSortThreads), 0,
               stream, from, tokens.as<int32_t>(), tokens.dim(0));
  for (int64_t length = kSortTile; length < padded; length *= kMergeWays) {
    cuda::launch(&merge_runs_kernel, dim3(cuda::grid_size(cuda::ceil_div(padded, kThreads))),
                 dim3(kThreads), 0, stream, to, from, padded, length);
    std::swap(from, to);
  }
  return from;
}

template <class T>
void forward(const EmbeddingForward& a, Context& ctx) {
  const int64_t rows = a.tokens.dim(0);
  const int64_t width = a.table.dim(1);
  const auto kernel =
      cuda::in_packs(width, a.y, a.table) ? &forward_kernel<T, true> : &forward_kernel<T, false>;
  cuda::launch(kernel, dim3(cuda::grid_size(cuda::ceil_div(rows, kWarps))), dim3(kThreads), 0,
               cuda::stream(ctx), a.y.as<T>(), a.table.as<T>(), a.tokens.as<int32_t>(), rows,
               a.table.dim(0), width);
}

template <class T>
void backward(const EmbeddingBackward& a, Context& ctx) {
  const int64_t count = a.tokens.dim(0);
  const int64_t width = a.dtable.dim(1);
  const int64_t padded = sorted_keys(count);
  const int64_t slots = chunk_slots(count);
  const cudaStream_t stream = cuda::stream(ctx);
  const Arena::Scope scope = ctx.scratch.scope();
  auto* const keys = static_cast<uint64_t*>(ctx.scratch.tensor(DType::I64, {2, padded}).data);
  float* const partial = ctx.scratch.tensor(DType::F32, {2, slots, width}).as<float>();
  const Sums<T> sums{.dtable = a.dtable.as<float>(),
                     .partial = partial,
                     .dy = a.dy.as<T>(),
                     .keys = sorted(keys, a.tokens, padded, stream),
                     .count = count,
                     .vocab = a.dtable.dim(0),
                     .width = width,
                     .slots = slots};
  const bool packed = cuda::in_packs(width, a.dtable, a.dy);
  const int64_t slab = int64_t{kWarp} * kSlabPacks * (packed ? kLanes<T> : 1);
  const auto slabs = static_cast<unsigned>(cuda::ceil_div(width, slab));
  cuda::launch(packed ? &sum_chunks_kernel<T, kLanes<T>> : &sum_chunks_kernel<T, 1>,
               dim3(cuda::grid_size(cuda::ceil_div(count, kWarps * kWarpPositions)), slabs),
               dim3(kThreads), 0, stream, sums);
  if (count <= kChunkRows) return;
  const auto columns = static_cast<unsigned>(std::min<int64_t>(cuda::ceil_div(width, kWarp), 64));
  cuda::launch(&add_runs_kernel<T>, dim3(cuda::grid_size(cuda::ceil_div(count, kThreads)), columns),
               dim3(kThreads), 0, stream, sums);
}

}  // namespace

void embedding_forward_cuda(const EmbeddingForward& a, Context& ctx) {
  if (a.y.count() == 0) return;
  a.y.dtype == DType::BF16 ? forward<BFloat16>(a, ctx) : forward<float>(a, ctx);
}

void embedding_backward_cuda(const EmbeddingBackward& a, Context& ctx) {
  if (a.dy.count() == 0) return;
  a.dy.dtype == DType::BF16 ? backward<BFloat16>(a, ctx) : backward<float>(a, ctx);
}

}  // namespace pivot
