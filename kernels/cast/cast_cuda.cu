#include "kernels/cast/cast.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    cast_kernel(BFloat16* y, const float* x, int64_t packs, int64_t count) {
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t p = first; p < packs; p += step) {
    const cuda::Pack<float> low = cuda::load_pack(x + 8 * p);
    const cuda::Pack<float> high = cuda::load_pack(x + 8 * p + 4);
    cuda::Pack<BFloat16> out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out.value[i] = low.value[i];
      out.value[4 + i] = high.value[i];
    }
    cuda::store_pack(y + 8 * p, out);
  }
  for (int64_t i = 8 * packs + first; i < count; i += step) {
    y[i] = cuda::from_float<BFloat16>(x[i]);
  }
}

}  // namespace

void cast_cuda(const Cast& a, Context& ctx) {
  const int64_t count = a.x.count();
  if (count == 0) return;
  cuda::launch(&cast_kernel, dim3(cuda::grid_for(ctx, count, 8 * kThreads)), dim3(kThreads), 0,
               cuda::stream(ctx), a.y.as<BFloat16>(), a.x.as<float>(), count / 8, count);
}

}  // namespace pivot
