#include "kernels/cuda/aligned.h"
#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/raw_pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rmsnorm/row_blocks.h"

namespace pivot {
namespace {

using cuda::kLanes;
using cuda::kWarp;

constexpr int kThreads = 256;
constexpr int kRowsPerBlock = kThreads / kWarp;  // a warp has a row

__device__ __forceinline__ float inverse_root(float square, int64_t width, float eps) {
  return 1.0F / sqrtf(square / static_cast<float>(width) + eps);
}

/// A warp has a row of up to 32 * Packs packs and keeps it in registers.
template <class T, int Packs>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(T* __restrict__ y, float* __restrict__ rstd, const T* __restrict__ x,
                   const T* __restrict__ weight, int64_t rows, int width, float eps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (row >= rows) return;
  // No conditions around the loads, so that they overlap.
  uint4 raw[Packs];
#pragma unroll
  for (int k = 0; k < Packs; ++k) {
    const int c = (k * kWarp + lane) * kLanes<T>;
    raw[k] = cuda::load_raw(x + row * width + (c < width ? c : 0));
  }
  float square = 0;
#pragma unroll
  for (int k = 0; k < Packs; ++k) {
    if ((k * kWarp + lane) * kLanes<T> >= width) raw[k] = make_uint4(0, 0, 0, 0);
    const cuda::Pack<T> in = cuda::unpack<T>(raw[k]);
#pragma unroll
    for (const float value : in.value) square += value * value;
  }
  const float scale = inverse_root(cuda::warp_sum(square), width, eps);
  if (lane == 0) rstd[row] = scale;
#pragma unroll
  for (int k = 0; k < Packs; ++k) {
    const int c = (k * kWarp + lane) * kLanes<T>;
    if (c >= width) continue;
    const cuda::Pack<T> in = cuda::unpack<T>(raw[k]);
    const cuda::Pack<T> w = cuda::load_pack(weight + c);
    cuda::Pack<T> out;
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i) out.value[i] = in.value[i] * scale * w.value[i];
    cuda::store_pack(y + row * width + c, out);
  }
}

/// Rows of any width; a warp has a row and reads it twice.
template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_any_kernel(T* y, float* rstd, const T* x, const T* weight, int64_t rows, int64_t width,
                       float eps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (row >= rows) return;
  float square = 0;
  for (int64_t c = lane; c < width; c += kWarp) {
    const float value = cuda::as_float(x[row * width + c]);
    square += value * value;
  }
  const float scale = inverse_root(cuda::warp_sum(square), width, eps);
  if (lane == 0) rstd[row] = scale;
  for (int64_t c = lane; c < width; c += kWarp) {
    const float value = cuda::as_float(x[row * width + c]);
    y[row * width + c] = cuda::from_float<T>(value * scale * cuda::as_float(weight[c]));
  }
}

template <class T>
void forward(const RmsNormForward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t width = a.x.dim(1);
  const dim3 grid(cuda::grid_size(cuda::ceil_div(rows, kRowsPerBlock)));
  const auto launch = [&](auto kernel) {
    cuda::launch(kernel, grid, dim3(kThreads), 0, cuda::stream(ctx), a.y.as<T>(),
                 a.rstd.as<float>(), a.x.as<T>(), a.weight.as<T>(), rows, width, a.eps);
  };
  const int64_t packs = cuda::ceil_div(width, kWarp * kLanes<T>);  // of a lane
  if (!cuda::in_packs(width, a.x, a.y, a.weight) || packs > 16) {
    launch(&forward_any_kernel<T>);
  } else if (packs <= 4) {
    launch(&forward_kernel<T, 4>);
  } else if (packs <= 8) {
    launch(&forward_kernel<T, 8>);
  } else {
    launch(&forward_kernel<T, 16>);
  }
}

template <class T>
struct Gradient {
  T* dx;
  float* partial;  // (blocks, width): every block's share of dweight
  const T* dy;
  const T* x;
  const T* weight;
  const float* rstd;
  int64_t rows;
  int64_t width;
};

/// What a thread has of a row. (Not dx: it is needed later than these, after the reduction.)
struct RowPart {
  uint4 dy, x;
  float rstd;
};
template <class T>
__device__ __forceinline__ RowPart load_part(const Gradient<T>& a, int64_t row, int c) {
  RowPart part{};
  if (row < a.rows && c < a.width) {
    const int64_t at = row * a.width + c;
    part.dy = cuda::load_raw(a.dy + at);
    part.x = cuda::load_raw(a.x + at);
    part.rstd = a.rstd[row];
  }
  return part;
}

// Four blocks of this many threads, of 64 registers each, are on a multiprocessor at once, so that
// all row blocks run in one wave: narrow rows share a block up to it. Rows may take twice as many.
constexpr int kSharedThreads = 256;
constexpr int kMostThreads = 512;

/// A row has `row_threads` threads, whole warps, one pack each; a block works on
/// blockDim.x / row_threads rows at once. While a row is reduced the next is on its way.
/// Dynamic shared memory: a float a thread and pack lane, for dweight of the block's rows.
template <class T>
__global__ void __launch_bounds__(kMostThreads, 2) backward_kernel(Gradient<T> a, int row_threads) {
  constexpr int kWidth = kLanes<T>;
  __shared__ float dots[2][kMostThreads / kWarp];
  const int thread = static_cast<int>(threadIdx.x);
  const int groups = static_cast<int>(blockDim.x) / row_threads;
  const int group = thread / row_threads;
  const int c = (thread - group * row_threads) * kWidth;
  const int row_warps = row_threads / kWarp;
  const int step = static_cast<int>(gridDim.x) * groups;
  uint4 weights = make_uint4(0, 0, 0, 0);
  if (c < a.width) weights = cuda::load_raw(a.weight + c);
  float dweight[kWidth] = {};

  int64_t row = static_cast<int64_t>(blockIdx.x) * groups + group;
  RowPart next = load_part(a, row, c);
  int parity = 0;
  // All groups of a block take as many turns, for the barrier.
  for (; row - group < a.rows; row += step, parity ^= 1) {
    const RowPart now = next;
    next = load_part(a, row + step, c);
    const bool here = row < a.rows && c < a.width;
    T* const out = a.dx + row * a.width + c;
    const uint4 gradient = here ? cuda::load_raw(out) : make_uint4(0, 0, 0, 0);
    const cuda::Pack<T> x = cuda::unpack<T>(now.x);
    const cuda::Pack<T> weight = cuda::unpack<T>(weights);
    cuda::Pack<T> g = cuda::unpack<T>(now.dy);  // dy, then dy * weight
    const float rstd = now.rstd;
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      dweight[i] += g.value[i] * x.value[i] * rstd;
      g.value[i] *= weight.value[i];
      dot += g.value[i] * x.value[i];
    }
    dot = cuda::warp_sum(dot);
    if (thread % kWarp == 0) dots[parity][thread / kWarp] = dot;
    __syncthreads();
    dot = 0;
#pragma unroll 1
    for (int w = 0; w < row_warps; ++w) dot += dots[parity][group * row_warps + w];
    const float slope = dot * rstd * rstd * rstd / static_cast<float>(a.width);
    cuda::Pack<T> dx = cuda::unpack<T>(gradient);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dx.value[i] += g.value[i] * rstd - x.value[i] * slope;
    if (here) cuda::store_pack(out, dx);
  }

  float* shares = reinterpret_cast<float*>(cuda::dynamic_shared());  // (kWidth, blockDim.x)
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    shares[i * static_cast<int>(blockDim.x) + thread] = dweight[i];
  }
  __syncthreads();
  if (group != 0 || c >= a.width) return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    float sum = 0;
    for (int g = 0; g < groups; ++g) {
      sum += shares[i * static_cast<int>(blockDim.x) + g * row_threads + thread];
    }
    a.partial[blockIdx.x * a.width + c + i] = sum;
  }
}

/// Rows of any width; a block has a row and keeps its share of dweight in `partial`.
template <class T>
__global__ void __launch_bounds__(kThreads) backward_any_kernel(Gradient<T> a) {
  __shared__ float space[2][kThreads / kWarp];
  float* share = a.partial + blockIdx.x * a.width;
  for (int64_t c = threadIdx.x; c < a.width; c += kThreads) share[c] = 0;
  int parity = 0;
  for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x, parity ^= 1) {
    const T* x = a.x + row * a.width;
    const T* dy = a.dy + row * a.width;
    T* dx = a.dx + row * a.width;
    const float rstd = a.rstd[row];
    float dot = 0;
    for (int64_t c = threadIdx.x; c < a.width; c += kThreads) {
      dot += cuda::as_float(dy[c]) * cuda::as_float(a.weight[c]) * cuda::as_float(x[c]);
    }
    dot = cuda::block_sum<kThreads>(dot, space[parity]);
    const float slope = dot * rstd * rstd * rstd / static_cast<float>(a.width);
    for (int64_t c = threadIdx.x; c < a.width; c += kThreads) {
      const float gradient = cuda::as_float(dy[c]);
      const float value = cuda::as_float(x[c]);
      const float add = gradient * cuda::as_float(a.weight[c]) * rstd - value * slope;
      dx[c] = cuda::from_float<T>(cuda::as_float(dx[c]) + add);
      share[c] += gradient * value * rstd;
    }
  }
}

template <class T>
void backward(const RmsNormBackward& a, Context& ctx) {
  const int64_t rows = a.x.dim(0);
  const int64_t width = a.x.dim(1);
  const int blocks = rmsnorm_row_blocks(rows);
  const Arena::Scope scope = ctx.scratch.scope();
  float* partial = ctx.scratch.tensor(DType::F32, {blocks, width}).as<float>();
  const Gradient<T> gradient{.dx = a.dx.as<T>(),
                             .partial = partial,
                             .dy = a.dy.as<T>(),
                             .x = a.x.as<T>(),
                             .weight = a.weight.as<T>(),
                             .rstd = a.rstd.as<float>(),
                             .rows = rows,
                             .width = width};
  const dim3 grid(cuda::grid_size(blocks));
  const cudaStream_t stream = cuda::stream(ctx);
  const int64_t row_threads = cuda::ceil_div(width, kWarp * kLanes<T>) * kWarp;
  if (cuda::in_packs(width, a.dx, a.dy, a.x, a.weight) && row_threads <= kMostThreads) {
    const int64_t groups = std::max<int64_t>(1, kSharedThreads / row_threads);
    const auto threads = static_cast<unsigned>(groups * row_threads);
    cuda::launch(&backward_kernel<T>, grid, dim3(threads), threads * kLanes<T> * sizeof(float),
                 stream, gradient, static_cast<int>(row_threads));
  } else {
    cuda::launch(&backward_any_kernel<T>, grid, dim3(kThreads), 0, stream, gradient);
  }
  cuda::add_column_sums(a.dweight.as<float>(), partial, blocks, width, width, stream);
}

}  // namespace

void rmsnorm_forward_cuda(const RmsNormForward& a, Context& ctx) {
  if (a.x.count() == 0) return;
  a.x.dtype == DType::BF16 ? forward<BFloat16>(a, ctx) : forward<float>(a, ctx);
}

void rmsnorm_backward_cuda(const RmsNormBackward& a, Context& ctx) {
  if (a.x.count() == 0) return;
  a.x.dtype == DType::BF16 ? backward<BFloat16>(a, ctx) : backward<float>(a, ctx);
}

}  // namespace pivot
