// What the engine's tests need of the ops that are cuBLASLt's on a GPU: y = x w^T + bias + residual
// as plain sums, one thread an element. Emulated only.
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/matmul/matmul.h"

namespace pivot {
namespace {

constexpr int kThreads = 128;

template <class X, class Y>
__global__ void product_kernel(Y* y, const X* x, const X* w, const Y* bias, const Y* residual,
                               int64_t rows, int64_t inner, int64_t outer) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= rows * outer) return;
  const X* a = x + at / outer * inner;
  const X* b = w + at % outer * inner;
  float sum = 0;
  for (int64_t i = 0; i < inner; ++i) sum = fmaf(cuda::as_float(a[i]), cuda::as_float(b[i]), sum);
  if (bias != nullptr) sum += cuda::as_float(bias[at % outer]);
  if (residual != nullptr) sum += cuda::as_float(residual[at]);
  y[at] = cuda::from_float<Y>(sum);
}

template <class X, class Y>
void product(const MatmulForward& a, Context& ctx) {
  const auto optional = [](const Tensor& t) { return t.present() ? t.as<Y>() : nullptr; };
  cuda::launch(&product_kernel<X, Y>, cuda::grid_size(cuda::ceil_div(a.y.count(), kThreads)),
               kThreads, 0, cuda::stream(ctx), a.y.as<Y>(), a.x.as<X>(), a.w.as<X>(),
               optional(a.bias), optional(a.residual), a.x.dim(0), a.x.dim(1), a.w.dim(0));
}

}  // namespace

void matmul_forward_cuda(const MatmulForward& a, Context& ctx) {
  if (a.y.count() == 0) return;
  if (a.x.dtype == DType::F32) {
    product<float, float>(a, ctx);
  } else if (a.y.dtype == DType::F32) {
    product<BFloat16, float>(a, ctx);
  } else {
    product<BFloat16, BFloat16>(a, ctx);
  }
}

void matmul_backward_cuda(const MatmulBackward&, Context&) {
  throw_error("matmul_backward is not emulated");
}

void linear_cross_entropy_cuda(const LinearCrossEntropy&, Context&) {
  throw_error("linear_cross_entropy is not emulated");
}

}  // namespace pivot
