#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/update_gate/decide.h"
#include "kernels/update_gate/update_gate.h"

namespace pivot {
namespace {

// One block: the losses of a step are at most some MB, 20 us beside the step's tenths of a second.
constexpr int kThreads = 1024;

__global__ void __launch_bounds__(kThreads)
    gate_kernel(AdamWScalars* scalars, float* result, const float* __restrict__ losses,
                int64_t count, const float* norm_squared, const float* limits, float grad_clip) {
  __shared__ double space[kThreads / cuda::kWarp];
  double sum = 0;
#pragma unroll 8
  for (int64_t n = threadIdx.x; n < count; n += kThreads) sum += static_cast<double>(losses[n]);
  sum = cuda::block_sum<kThreads>(sum, space);
  if (threadIdx.x == 0) {
    decide_update(sum, *norm_squared, limits, grad_clip, scalars, result);
  }
}

}  // namespace

void update_gate_cuda(const UpdateGate& a, Context& ctx) {
  cuda::launch(&gate_kernel, dim3(1), dim3(kThreads), 0, cuda::stream(ctx),
               reinterpret_cast<AdamWScalars*>(a.scalars.as<float>()), a.result.as<float>(),
               a.losses.as<float>(), a.losses.count(), a.norm_squared.as<float>(),
               a.limits.as<float>(), a.grad_clip);
}

}  // namespace pivot
