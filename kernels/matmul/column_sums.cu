#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/matmul/column_sums.h"

namespace pivot::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;

template <class T>
constexpr int kColumns = kWarp* kLanes<T>;  // of one block: a 16-byte access per lane

/// Columns [column, column + kLanes) of a row, zeros beyond `width`.
template <class T>
__device__ Pack<T> load_columns(const T* row, int64_t column, int64_t width) {
  if (packs<T>(width)) return load_pack(row + column);
  Pack<T> pack = {};
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) {
    if (column + i < width) pack.value[i] = as_float(row[column + i]);
  }
  return pack;
}

/// partial (parts, O): block (x, y) sums rows [y * part_rows, ...) of its columns; warp w takes
/// every kWarps-th row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    partial_sums_kernel(const T* rows, int64_t count, int64_t width, int64_t part_rows,
                        float* partial) {
  __shared__ float shared[kWarps][kColumns<T>];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = int64_t{blockIdx.x} * kColumns<T>;
  const int64_t column = first + lane * kLanes<T>;
  const int64_t begin = int64_t{blockIdx.y} * part_rows;
  const int64_t end = begin + part_rows < count ? begin + part_rows : count;
  float sum[kLanes<T>] = {};
  if (column < width) {
#pragma unroll 4
    for (int64_t n = begin + warp; n < end; n += kWarps) {
      const Pack<T> pack = load_columns(rows + n * width, column, width);
#pragma unroll
      for (int i = 0; i < kLanes<T>; ++i) sum[i] += pack.value[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) shared[warp][lane * kLanes<T> + i] = sum[i];
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < kColumns<T> && first + c < width; c += kThreads) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += shared[w][c];
    partial[int64_t{blockIdx.y} * width + first + c] = total;
  }
}

__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(const float* partial, int parts, int64_t width, float* sums) {
  const int64_t c = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= width) return;
  float total = 0;
  for (int p = 0; p < parts; ++p) total += partial[p * width + c];
  sums[c] += total;
}

template <class T>
void add_sums(const Tensor& sums, const Tensor& rows, Context& ctx) {
  const int64_t count = rows.dim(0);
  const int64_t width = rows.dim(1);
  const int64_t parts = column_sum_parts(count);
  const Arena::Scope scope = ctx.scratch.scope();
  auto* partial = ctx.scratch.tensor(DType::F32, {parts, width}).as<float>();
  const dim3 grid(grid_size(ceil_div(width, kColumns<T>)), static_cast<unsigned>(parts));
  launch(&partial_sums_kernel<T>, grid, dim3(kThreads), 0, stream(ctx), rows.as<T>(), count, width,
         ceil_div(count, parts), partial);
  launch(&add_parts_kernel, dim3(grid_size(ceil_div(width, kThreads))), dim3(kThreads), 0,
         stream(ctx), partial, static_cast<int>(parts), width, sums.as<float>());
}

}  // namespace

void add_column_sums(const Tensor& sums, const Tensor& rows, Context& ctx) {
  if (rows.count() == 0) return;
  if (rows.dtype == DType::BF16) {
    add_sums<BFloat16>(sums, rows, ctx);
  } else {
    add_sums<float>(sums, rows, ctx);
  }
}

}  // namespace pivot::cuda
