#include "kernels/cuda/aligned.h"
#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/raw_pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/qk_norm/qk_norm.h"
#include "kernels/qk_norm/row_blocks.h"

namespace pivot {
namespace {

using cuda::kLanes;
using cuda::kWarp;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kForwardRows = 8;  // of a block: nine packs a thread at C = 768 in bf16
constexpr int kAtOnce = 2;       // packs of a thread that are on their way together

template <class T>
struct Heads {
  const T* qkv;
  float* rstd;
  const T* q_weight;
  const T* k_weight;
  int64_t rows;
  int heads;
  int normed;  // query and key heads
  int packed;  // and value heads
  int width;   // D
};

/// The sum over `lanes` neighbours, a power of two.
__device__ __forceinline__ float group_sum(float x, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(cuda::kAllLanes, x, step);
  return x;
}

/// One head for each group of D / kLanes threads, a power of two up to 32: a pack for each.
template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(T* __restrict__ out, Heads<T> a, float eps) {
  const int lanes = a.width / kLanes<T>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kForwardRows;
  const int rows = a.rows - first < kForwardRows ? static_cast<int>(a.rows - first) : kForwardRows;
  const int items = rows * a.packed * lanes;
  const int c = static_cast<int>(threadIdx.x) % lanes * kLanes<T>;  // in every turn
  // Whole warps take every turn, for the shuffles. What lies beyond the items reads the first.
  for (int turn = static_cast<int>(threadIdx.x); turn - static_cast<int>(threadIdx.x) < items;
       turn += kAtOnce * kThreads) {
    int row_head[kAtOnce];
    cuda::Pack<T> x[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int item = turn + k * kThreads;
      row_head[k] = (item < items ? item : 0) / lanes;
      x[k] = cuda::load_pack(a.qkv + (first * a.packed + row_head[k]) * a.width + c);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      float square = 0;
#pragma unroll
      for (const float value : x[k].value) square += value * value;
      square = group_sum(square, lanes);
      if (turn + k * kThreads >= items) continue;
      const int row = row_head[k] / a.packed;
      const int head = row_head[k] - row * a.packed;
      T* const y = out + (first * a.packed + row_head[k]) * a.width + c;
      if (head < a.normed) {
        const float rstd = 1.0F / sqrtf(square / static_cast<float>(a.width) + eps);
        if (c == 0) a.rstd[(first + row) * a.normed + head] = rstd;
        const cuda::Pack<T> w = cuda::load_pack((head < a.heads ? a.q_weight : a.k_weight) + c);
#pragma unroll
        for (int i = 0; i < kLanes<T>; ++i) x[k].value[i] *= rstd * w.value[i];
      }
      cuda::store_pack(y, x[k]);
    }
  }
}

/// Heads of any width: a warp has a head and reads it twice.
template <class T>
__global__ void __launch_bounds__(kThreads) forward_any_kernel(T* out, Heads<T> a, float eps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row_head =
      static_cast<int64_t>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (row_head >= a.rows * a.packed) return;
  const int64_t row = row_head / a.packed;
  const int head = static_cast<int>(row_head - row * a.packed);
  const T* x = a.qkv + row_head * a.width;
  T* y = out + row_head * a.width;
  if (head >= a.normed) {
    for (int c = lane; c < a.width; c += kWarp) y[c] = x[c];
    return;
  }
  float square = 0;
  for (int c = lane; c < a.width; c += kWarp) {
    square += cuda::as_float(x[c]) * cuda::as_float(x[c]);
  }
  square = cuda::warp_sum(square);
  const float rstd = 1.0F / sqrtf(square / static_cast<float>(a.width) + eps);
  if (lane == 0) a.rstd[row * a.normed + head] = rstd;
  const T* weight = head < a.heads ? a.q_weight : a.k_weight;
  for (int c = lane; c < a.width; c += kWarp) {
    y[c] = cuda::from_float<T>(cuda::as_float(x[c]) * rstd * cuda::as_float(weight[c]));
  }
}

/// Heads as in forward_kernel; a block has contiguous rows. Every thread sums dweight of its
/// channels, which stay the same, of query and of key heads; the block writes (2, D) to `partial`.
/// Dynamic shared memory: (2 kLanes, threads) floats.
template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    backward_kernel(T* dqkv, float* partial, Heads<T> a) {
  constexpr int kWidth = kLanes<T>;
  const int thread = static_cast<int>(threadIdx.x);
  const int lanes = a.width / kWidth;
  const int c = thread % lanes * kWidth;
  const int64_t begin = a.rows * blockIdx.x / gridDim.x;
  const int64_t end = a.rows * (blockIdx.x + 1) / gridDim.x;
  const int row_items = a.normed * lanes;
  const uint4 q_weight = cuda::load_raw(a.q_weight + c);
  const uint4 k_weight = cuda::load_raw(a.k_weight + c);
  float dweight[2][kWidth] = {};

  // Items are counted through all rows: kThreads is a multiple of the lanes of a head, a row's
  // number of items is one too, but not of kThreads.
  const int64_t items = (end - begin) * row_items;
  int64_t row = begin;
  int item = thread;  // of the row
  for (int64_t turn = 0; turn < items; turn += kThreads, item += kThreads) {
    while (item >= row_items) {
      item -= row_items;
      ++row;
    }
    const bool here = row < end;
    const int head = item / lanes;
    const int64_t at = ((here ? row : begin) * a.packed + head) * a.width + c;
    const bool query = head < a.heads;
    cuda::Pack<T> dy = cuda::load_pack(dqkv + at);
    const cuda::Pack<T> x = cuda::load_pack(a.qkv + at);
    const float rstd = a.rstd[(here ? row : begin) * a.normed + head];
    const cuda::Pack<T> weight = cuda::unpack<T>(query ? q_weight : k_weight);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float share = dy.value[i] * x.value[i] * rstd;
      dweight[0][i] += here && query ? share : 0.0F;
      dweight[1][i] += here && !query ? share : 0.0F;
      dy.value[i] *= weight.value[i];
      dot += dy.value[i] * x.value[i];
    }
    dot = group_sum(dot, lanes);
    if (!here) continue;
    const float slope = dot * rstd * rstd * rstd / static_cast<float>(a.width);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dy.value[i] = dy.value[i] * rstd - x.value[i] * slope;
    cuda::store_pack(dqkv + at, dy);
  }

  auto* const shares = reinterpret_cast<float*>(cuda::dynamic_shared());
#pragma unroll
  for (int i = 0; i < 2 * kWidth; ++i) {
    shares[i * kThreads + thread] = dweight[i / kWidth][i % kWidth];
  }
  __syncthreads();
  for (int i = thread; i < 2 * a.width; i += kThreads) {
    const int query = i / a.width;  // 0: query heads, 1: key heads
    const int channel = i - query * a.width;
    const float* column = shares + (query * kWidth + channel % kWidth) * kThreads;
    float sum = 0;
    for (int t = channel / kWidth; t < kThreads; t += lanes) sum += column[t];
    partial[2 * blockIdx.x * int64_t{a.width} + i] = sum;
  }
}

/// Heads of any width: the block walks the heads of its rows and keeps its sums in `partial`.
template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_any_kernel(T* dqkv, float* partial, Heads<T> a) {
  __shared__ float space[2][kWarps];
  const int64_t begin = a.rows * blockIdx.x / gridDim.x;
  const int64_t end = a.rows * (blockIdx.x + 1) / gridDim.x;
  float* const shares = partial + 2 * blockIdx.x * int64_t{a.width};
  for (int c = static_cast<int>(threadIdx.x); c < a.width; c += kThreads) {
    shares[c] = 0;
    shares[a.width + c] = 0;
  }
  for (int64_t i = 0; i < (end - begin) * a.normed; ++i) {
    const int64_t row = begin + i / a.normed;
    const int head = static_cast<int>(i % a.normed);
    const T* x = a.qkv + (row * a.packed + head) * a.width;
    T* dy = dqkv + (row * a.packed + head) * a.width;
    const T* weight = head < a.heads ? a.q_weight : a.k_weight;
    float* const share = head < a.heads ? shares : shares + a.width;
    const float rstd = a.rstd[row * a.normed + head];
    float dot = 0;
    for (int c = static_cast<int>(threadIdx.x); c < a.width; c += kThreads) {
      dot += cuda::as_float(dy[c]) * cuda::as_float(weight[c]) * cuda::as_float(x[c]);
    }
    dot = cuda::block_sum<kThreads>(dot, space[i % 2]);
    const float slope = dot * rstd * rstd * rstd / static_cast<float>(a.width);
    for (int c = static_cast<int>(threadIdx.x); c < a.width; c += kThreads) {
      const float gradient = cuda::as_float(dy[c]);
      const float value = cuda::as_float(x[c]);
      share[c] += gradient * value * rstd;
      dy[c] = cuda::from_float<T>(gradient * cuda::as_float(weight[c]) * rstd - value * slope);
    }
  }
}

template <class T, class Args>
Heads<T> heads_of(const Args& a) {
  return {.qkv = a.qkv.template as<T>(),
          .rstd = a.rstd.template as<float>(),
          .q_weight = a.q_weight.template as<T>(),
          .k_weight = a.k_weight.template as<T>(),
          .rows = a.qkv.dim(0),
          .heads = a.heads,
          .normed = a.heads + a.kv_heads,
          .packed = a.heads + 2 * a.kv_heads,
          .width = static_cast<int>(a.qkv.dim(2))};
}

/// True if a power of two of threads, up to a warp, has a head in packs.
template <class T>
bool in_groups(int64_t width, const Tensor& gradient, const Tensor& qkv, const Tensor& q_weight,
               const Tensor& k_weight) {
  const int64_t lanes = width / kLanes<T>;
  return cuda::in_packs(width, gradient, qkv, q_weight, k_weight) && lanes <= kWarp &&
         (lanes & (lanes - 1)) == 0;
}

template <class T>
void forward(const QkNormForward& a, Context& ctx) {
  const Heads<T> heads = heads_of<T>(a);
  const cudaStream_t stream = cuda::stream(ctx);
  if (in_groups<T>(heads.width, a.out, a.qkv, a.q_weight, a.k_weight)) {
    const dim3 grid(cuda::grid_size(cuda::ceil_div(heads.rows, kForwardRows)));
    cuda::launch(&forward_kernel<T>, grid, dim3(kThreads), 0, stream, a.out.as<T>(), heads, a.eps);
  } else {
    const dim3 grid(cuda::grid_size(cuda::ceil_div(heads.rows * heads.packed, kWarps)));
    cuda::launch(&forward_any_kernel<T>, grid, dim3(kThreads), 0, stream, a.out.as<T>(), heads,
                 a.eps);
  }
}

template <class T>
void backward(const QkNormBackward& a, Context& ctx) {
  const Heads<T> heads = heads_of<T>(a);
  const int64_t width = heads.width;
  const int blocks = qk_norm_row_blocks(heads.rows);
  const Arena::Scope scope = ctx.scratch.scope();
  float* partial = ctx.scratch.tensor(DType::F32, {blocks, 2, width}).as<float>();
  const dim3 grid(cuda::grid_size(blocks));
  const cudaStream_t stream = cuda::stream(ctx);
  if (in_groups<T>(width, a.dqkv, a.qkv, a.q_weight, a.k_weight)) {
    constexpr size_t kShared = 2 * kLanes<T> * kThreads * sizeof(float);
    cuda::launch(&backward_kernel<T>, grid, dim3(kThreads), kShared, stream, a.dqkv.as<T>(),
                 partial, heads);
  } else {
    cuda::launch(&backward_any_kernel<T>, grid, dim3(kThreads), 0, stream, a.dqkv.as<T>(), partial,
                 heads);
  }
  cuda::add_column_sums(a.dq_weight.as<float>(), partial, blocks, 2 * width, width, stream);
  cuda::add_column_sums(a.dk_weight.as<float>(), partial + width, blocks, 2 * width, width, stream);
}

}  // namespace

void qk_norm_forward_cuda(const QkNormForward& a, Context& ctx) {
  if (a.qkv.count() == 0) return;
  a.qkv.dtype == DType::BF16 ? forward<BFloat16>(a, ctx) : forward<float>(a, ctx);
}

void qk_norm_backward_cuda(const QkNormBackward& a, Context& ctx) {
  if (a.qkv.count() == 0) return;
  a.qkv.dtype == DType::BF16 ? backward<BFloat16>(a, ctx) : backward<float>(a, ctx);
}

}  // namespace pivot
