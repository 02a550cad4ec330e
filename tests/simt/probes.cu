#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "tests/simt/probes.h"

namespace pivot::simt_probe {
namespace {

__global__ void __launch_bounds__(kThreads)
    block_reductions_kernel(float* sums, float* tops, const float* values) {
  __shared__ float space[2][kThreads / cuda::kWarp];
  const float x = values[blockIdx.x * kThreads + threadIdx.x];
  const float sum = cuda::block_sum<kThreads>(x, space[0]);
  const float top = cuda::block_max<kThreads>(x, space[1]);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = sum;
    tops[blockIdx.x] = top;
  }
}

__global__ void warp_shuffles_kernel(int32_t* out, const int32_t* values) {
  const uint32_t all = cuda::kAllLanes;
  const int lane = static_cast<int>(threadIdx.x);
  const int32_t x = values[lane];
  out[lane] = __shfl_sync(all, x, 5);
  out[32 + lane] = __shfl_sync(all, x, 2, 8);
  out[64 + lane] = __shfl_xor_sync(all, x, 3);
  out[96 + lane] = __shfl_xor_sync(all, x, 8, 8);
  out[128 + lane] = __shfl_up_sync(all, x, 3);
  out[160 + lane] = __shfl_down_sync(all, x, 5, 16);
  out[192 + lane] = static_cast<int32_t>(__ballot_sync(all, x % 2 != 0));
  out[224 + lane] = __any_sync(all, x == 7) != 0;
  out[256 + lane] = __all_sync(all, x >= 0) != 0;
}

__global__ void half_warps_kernel(int32_t* out, const int32_t* values) {
  const int lane = static_cast<int>(threadIdx.x);
  int32_t sum = values[lane];
  if (lane < 16) {
    for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFU, sum, step);
    if (lane == 0) out[0] = sum;
  } else {
    for (int step = 1; step < 16; step *= 2) sum += __shfl_xor_sync(0xFFFF0000U, sum, step);
    if (lane == 16) out[1] = sum;
  }
}

__global__ void histogram_kernel(int32_t* counts, int32_t* extremes, const int32_t* values,
                                 int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  atomicAdd(&counts[values[i]], 1);
  atomicMax(&extremes[0], values[i]);
  atomicMin(&extremes[1], values[i]);
}

__global__ void reverse_rows_kernel(float* out, const float* in, int n) {
  auto* row = reinterpret_cast<float*>(cuda::dynamic_shared());
  const int64_t start = int64_t{blockIdx.x} * n;
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) row[i] = in[start + i];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < n; i += kThreads) {
    out[start + i] = row[n - 1 - i];
  }
}

constexpr int kStep = 16;

// Rows of 16 channels, 32 bytes: row l % 16, and for the lanes above 15 the second half.
__device__ uint32_t row_address(const BFloat16* rows, int count, int lane) {
  return cuda::shared_address(rows + lane % count * kStep + lane / count % 2 * 8);
}

template <bool Transposed>
__global__ void product_kernel(float* out, const BFloat16* a, const BFloat16* b, int width) {
  auto* a_rows = reinterpret_cast<BFloat16*>(cuda::dynamic_shared());
  BFloat16* b_rows = a_rows + 16 * kStep;
  const int lane = static_cast<int>(threadIdx.x);
  float c[4] = {};
  for (int d = 0; d < width; d += kStep) {
    __syncwarp();
    for (int i = lane; i < 16 * kStep; i += 32) {
      a_rows[i] = a[i / kStep * width + d + i % kStep];
    }
    for (int i = lane; i < 8 * kStep; i += 32) {
      b_rows[i] = Transposed ? b[d * 8 + i] : b[i / kStep * width + d + i % kStep];
    }
    __syncwarp();
    uint32_t a_part[4];
    uint32_t b_part[4];
    cuda::load_matrix_x4(a_part, row_address(a_rows, 16, lane));
    if (Transposed) {  // 16 rows of 8 elements
      cuda::load_matrix_x4_transposed(b_part, cuda::shared_address(b_rows + lane % 16 * 8));
    } else {
      cuda::load_matrix_x4(b_part, row_address(b_rows, 8, lane));
    }
    cuda::mma_16x8x16(c, a_part, b_part[0], b_part[1]);
  }
  for (int i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 8 + 2 * (lane % 4) + i % 2] = c[i];
}

template <bool Transposed>
void launch_product(const Tensor& out, const Tensor& a, const Tensor& b, Context& ctx) {
  cuda::launch(&product_kernel<Transposed>, dim3(1), dim3(32), (16 + 8) * kStep * 2,
               cuda::stream(ctx), out.as<float>(), a.as<BFloat16>(), b.as<BFloat16>(), a.dim(1));
}

// A warp copies 128 floats a stage, one stage ahead.
__global__ void copy_pipeline_kernel(float* out, const float* in, int64_t n, int64_t valid) {
  constexpr int kStage = 128;
  auto* stages = reinterpret_cast<float*>(cuda::dynamic_shared());
  const int lane = static_cast<int>(threadIdx.x);
  const auto load = [&](int64_t first) {
    const int64_t at = first + 4 * lane;
    float* to = stages + first / kStage % 2 * kStage + 4 * lane;
    const bool inside = at < valid;
    if (at < n) cuda::copy_async_16(cuda::shared_address(to), in + (inside ? at : 0), inside);
    cuda::copy_async_commit();
  };
  load(0);
  for (int64_t first = 0; first < n; first += kStage) {
    load(first + kStage);
    cuda::copy_async_wait<1>();
    __syncwarp();
    for (int i = lane; i < kStage && first + i < n; i += 32) {
      out[first + i] = stages[first / kStage % 2 * kStage + i] + 1;
    }
    __syncwarp();
  }
}

__global__ void conversions_kernel(BFloat16* out, float* exponentials, const float* in, int64_t n) {
  constexpr int kLanes = cuda::kLanes<BFloat16>;
  for (int64_t i = kLanes * threadIdx.x; i < n; i += kLanes * blockDim.x) {
    cuda::Pack<BFloat16> pack;
    for (int j = 0; j < kLanes; j += 4) {
      const cuda::Pack<float> four = cuda::load_pack(in + i + j);
      for (int k = 0; k < 4; ++k) pack.value[j + k] = four.value[k];
    }
    cuda::store_pack(out + i, pack);
    for (int j = 0; j < kLanes; ++j) exponentials[i + j] = cuda::exp2_fast(in[i + j]);
  }
}

}  // namespace

void block_reductions(const Tensor& sums, const Tensor& tops, const Tensor& values, Context& ctx) {
  cuda::launch(&block_reductions_kernel, dim3(cuda::grid_size(sums.dim(0))), dim3(kThreads), 0,
               cuda::stream(ctx), sums.as<float>(), tops.as<float>(), values.as<float>());
}

void warp_shuffles(const Tensor& out, const Tensor& values, Context& ctx) {
  cuda::launch(&warp_shuffles_kernel, dim3(1), dim3(32), 0, cuda::stream(ctx), out.as<int32_t>(),
               values.as<int32_t>());
}

void half_warps(const Tensor& out, const Tensor& values, Context& ctx) {
  cuda::launch(&half_warps_kernel, dim3(1), dim3(32), 0, cuda::stream(ctx), out.as<int32_t>(),
               values.as<int32_t>());
}

void histogram(const Tensor& counts, const Tensor& extremes, const Tensor& values, Context& ctx) {
  const int64_t n = values.dim(0);
  cuda::launch(&histogram_kernel, dim3(cuda::grid_size(cuda::ceil_div(n, kThreads))),
               dim3(kThreads), 0, cuda::stream(ctx), counts.as<int32_t>(), extremes.as<int32_t>(),
               values.as<int32_t>(), n);
}

void reverse_rows(const Tensor& out, const Tensor& in, Context& ctx) {
  const size_t bytes = static_cast<size_t>(in.dim(1)) * sizeof(float);
  cuda::allow_shared_memory(&reverse_rows_kernel, bytes);
  cuda::launch(&reverse_rows_kernel, dim3(cuda::grid_size(in.dim(0))), dim3(kThreads), bytes,
               cuda::stream(ctx), out.as<float>(), in.as<float>(), in.dim(1));
}

void product(const Tensor& out, const Tensor& a, const Tensor& b, Context& ctx) {
  launch_product<false>(out, a, b, ctx);
}
void product_transposed(const Tensor& out, const Tensor& a, const Tensor& b, Context& ctx) {
  launch_product<true>(out, a, b, ctx);
}

void copy_pipeline(const Tensor& out, const Tensor& in, int64_t valid, Context& ctx) {
  cuda::launch(&copy_pipeline_kernel, dim3(1), dim3(32), 2 * 128 * sizeof(float), cuda::stream(ctx),
               out.as<float>(), in.as<float>(), in.dim(0), valid);
}

void conversions(const Tensor& out, const Tensor& exponentials, const Tensor& in, Context& ctx) {
  cuda::launch(&conversions_kernel, dim3(1), dim3(64), 0, cuda::stream(ctx), out.as<BFloat16>(),
               exponentials.as<float>(), in.as<float>(), in.dim(0));
}

}  // namespace pivot::simt_probe
