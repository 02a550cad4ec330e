#include "kernels/cuda/aligned.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/reduce/reduce.h"
#include "kernels/reduce/sum_blocks.h"

namespace pivot {
namespace {

constexpr int kThreads = 256;

/// sums[b] = sum of squares of block b's share of x: whole packs dealt out round robin, then, where
/// x cannot be read in packs or ends in a part of one, single elements.
template <bool Packed>
__global__ void __launch_bounds__(kThreads)
    square_kernel(double* sums, const float* __restrict__ x, int64_t count) {
  __shared__ double space[kThreads / cuda::kWarp];
  constexpr int64_t kWidth = cuda::kLanes<float>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t packs = Packed ? count / kWidth : 0;
  double sum = 0;
#pragma unroll 4
  for (int64_t p = first; p < packs; p += step) {
    const cuda::Pack<float> pack = cuda::load_pack(x + p * kWidth);
#pragma unroll
    for (const float value : pack.value) {
      sum += static_cast<double>(value) * static_cast<double>(value);
    }
  }
  for (int64_t i = packs * kWidth + first; i < count; i += step) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  sum = cuda::block_sum<kThreads>(sum, space);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// sum = sums[0] + ... in an order that depends on `blocks` alone.
__global__ void __launch_bounds__(kThreads)
    total_kernel(float* sum, const double* sums, int blocks) {
  __shared__ double space[kThreads / cuda::kWarp];
  double total = 0;
  for (int b = static_cast<int>(threadIdx.x); b < blocks; b += kThreads) total += sums[b];
  total = cuda::block_sum<kThreads>(total, space);
  if (threadIdx.x == 0) *sum = static_cast<float>(total);
}

}  // namespace

void sum_squares_cuda(const SumSquares& a, Context& ctx) {
  const int64_t count = a.x.count();
  const int blocks = sum_blocks(count);
  const Arena::Scope scope = ctx.scratch.scope();
  auto* const sums = static_cast<double*>(ctx.scratch.tensor(DType::I64, {blocks}).data);
  const cudaStream_t stream = cuda::stream(ctx);
  const auto kernel = cuda::aligned16(a.x) ? &square_kernel<true> : &square_kernel<false>;
  cuda::launch(kernel, dim3(cuda::grid_size(blocks)), dim3(kThreads), 0, stream, sums,
               a.x.as<float>(), count);
  cuda::launch(&total_kernel, dim3(1), dim3(kThreads), 0, stream, a.sum.as<float>(), sums, blocks);
}

}  // namespace pivot
