// The CUDA twins: every path is an implementation of its own (kernels/attention/cuda/paths.h).

#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/cuda/launch.cuh"

namespace pivot {

using namespace attention;

namespace {

constexpr int kThreads = 256;

// Adds the number of rows that are not finite to nan_rows: what cuDNN does not count.
__global__ void count_nan_rows(const float* lse, int64_t rows, int32_t* nan_rows) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row < rows && !std::isfinite(lse[row])) atomicAdd(nan_rows, 1);
}

// The entropy of dense attention, by the tiled kernel. Its other results are not used: the bits of
// `out` must not depend on whether someone asks for statistics.
void add_entropy(const AttentionForward& a, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  AttentionForward statistics = a;
  statistics.out = ctx.scratch.tensor(a.out.dtype, a.out.shape);
  statistics.lse = ctx.scratch.tensor(DType::F32, a.lse.shape);
  statistics.tau = ctx.scratch.tensor(DType::F32, a.tau.shape);
  statistics.jcut = ctx.scratch.tensor(DType::I32, a.jcut.shape);
  statistics.lse_visible = {};
  statistics.nan_rows = {};
  tiled_forward(statistics, ctx);
}

void dense_by_cudnn(const AttentionForward& a, Context& ctx) {
  cudnn_forward(a, ctx);
  if (a.nan_rows.present()) {
    const int64_t rows = a.lse.count();
    cuda::launch(&count_nan_rows, dim3(cuda::grid_size(cuda::ceil_div(rows, kThreads))),
                 dim3(kThreads), 0, cuda::stream(ctx), a.lse.as<float>(), rows,
                 a.nan_rows.as<int32_t>());
  }
  if (a.lse_visible.present()) copy(a.lse_visible, a.lse, ctx);  // all keys are kept
  if (a.entropy.present()) add_entropy(a, ctx);
}

}  // namespace

void attention_forward_cuda(const AttentionForward& a, Context& ctx) {
  if (a.qkv.dim(0) == 0) return;
  switch (path_of(a)) {
    case CudaPath::Naive:
      return naive_forward(a, ctx);
    case CudaPath::Tiled:
      return tiled_forward(a, ctx);
    case CudaPath::Cudnn:
      return dense_by_cudnn(a, ctx);
  }
}

void attention_backward_cuda(const AttentionBackward& a, Context& ctx) {
  if (a.qkv.dim(0) == 0) return;
  switch (path_of(a)) {
    case CudaPath::Naive:
      return naive_backward(a, ctx);
    case CudaPath::Tiled:
      return tiled_backward(a, ctx);
    case CudaPath::Cudnn:
      return cudnn_backward(a, ctx);
  }
}

}  // namespace pivot
