// Matrix products without cuBLASLt, as plain sums, one thread an element: what tests of models need
// on the emulated device. The results are those of one algorithm, so nothing is chosen.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"

namespace pivot::cuda {
namespace {

constexpr int kThreads = 128;

struct Operand {
  const void* data;
  int64_t row_stride, column_stride;
};

Operand strided(const BlasOperand& a) {
  const bool plain = a.layout == Layout::Plain;
  return {a.data, plain ? a.stride : 1, plain ? 1 : a.stride};
}

template <class X, class Y>
__global__ void product_kernel(Operand a, Operand b, Y* d, const Y* c, const Y* bias, int64_t m,
                               int64_t n, int64_t k, int64_t stride, float alpha) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= m * n) return;
  const int64_t row = at / n, column = at % n;
  const X* x = static_cast<const X*>(a.data) + row * a.row_stride;
  const X* y = static_cast<const X*>(b.data) + column * b.column_stride;
  float sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    sum = fmaf(as_float(x[i * a.column_stride]), as_float(y[i * b.row_stride]), sum);
  }
  sum *= alpha;
  if (bias != nullptr) sum += as_float(bias[column]);
  if (c != nullptr) sum += as_float(c[row * stride + column]);
  d[row * stride + column] = from_float<Y>(sum);
}

template <class X, class Y>
void product(const BlasGemm& g, cudaStream_t stream) {
  launch(&product_kernel<X, Y>, grid_size(ceil_div(g.m * g.n, kThreads)), kThreads, 0, stream,
         strided(g.a), strided(g.b), static_cast<Y*>(g.d), static_cast<const Y*>(g.c),
         static_cast<const Y*>(g.bias), g.m, g.n, g.k, g.d_stride, g.alpha);
}

}  // namespace

struct Blas::State {
  int device;
};

Blas::Blas(int device) : state_(std::make_unique<State>(State{device})) {}
Blas::~Blas() = default;

void Blas::run(const BlasGemm& g) {
  if (g.m * g.n == 0) return;
  const auto s = static_cast<cudaStream_t>(stream(state_->device));
  if (g.inputs == DType::F32) {
    product<float, float>(g, s);
  } else if (g.outputs == DType::F32) {
    product<BFloat16, float>(g, s);
  } else {
    product<BFloat16, BFloat16>(g, s);
  }
}

void Blas::set_measuring(bool) {}
int Blas::load_choices(const std::string&) {
  return 0;
}
void Blas::save_choices(const std::string&) const {}
int Blas::candidates(const BlasGemm&) {
  return 1;
}
void Blas::run_candidate(const BlasGemm& g, int) {
  run(g);
}
void Blas::run_reference(const BlasGemm& g) {
  run(g);
}

}  // namespace pivot::cuda
