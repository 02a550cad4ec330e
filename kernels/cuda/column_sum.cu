#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace pivot::cuda {
namespace {

constexpr int kSlices = 32;  // threads that share a column: few rows in a row for each

/// A block sums 32 columns; slice s adds rows s, s + 32, ... and the slices are added in order.
__global__ void __launch_bounds__(kWarp* kSlices)
    column_sum_kernel(float* sum, const float* partial, int rows, int64_t stride, int64_t width) {
  __shared__ float slices[kSlices][kWarp + 1];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int slice = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  float total = 0;
  if (column < width) {
#pragma unroll 8
    for (int r = slice; r < rows; r += kSlices) total += partial[r * stride + column];
  }
  slices[slice][lane] = total;
  __syncthreads();
  if (slice != 0 || column >= width) return;
  total = 0;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) total += slices[s][lane];
  sum[column] += total;
}

}  // namespace

void add_column_sums(float* sum, const float* partial, int rows, int64_t stride, int64_t width,
                     cudaStream_t stream) {
  if (width == 0) return;
  launch(&column_sum_kernel, dim3(grid_size(ceil_div(width, kWarp))), dim3(kWarp * kSlices), 0,
         stream, sum, partial, rows, stride, width);
}

}  // namespace pivot::cuda
