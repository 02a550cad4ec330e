#include "kernels/cuda/aligned.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/swiglu/swiglu.h"

namespace pivot {
namespace {

constexpr int kThreads = 256;
// Blocks along the rows, which they walk: at F = 2048 in bf16, one block wide, four times what an
// H100 has at once. (A grid's y dimension ends at 65535.)
constexpr int64_t kMostRows = 4096;

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0F / (1.0F + expf(-x));
}

/// `Width` neighbours of a row: a pack, or one element where rows are no whole packs.
template <class T, int Width>
struct Piece {
  float value[Width];
};
template <class T, int Width>
__device__ __forceinline__ Piece<T, Width> load(const T* at) {
  Piece<T, Width> piece;
  if constexpr (Width == 1) {
    piece.value[0] = cuda::as_float(*at);
  } else {
    const cuda::Pack<T> pack = cuda::load_pack(at);
#pragma unroll
    for (int i = 0; i < Width; ++i) piece.value[i] = pack.value[i];
  }
  return piece;
}
template <class T, int Width>
__device__ __forceinline__ void store(T* at, const Piece<T, Width>& piece) {
  if constexpr (Width == 1) {
    *at = cuda::from_float<T>(piece.value[0]);
  } else {
    cuda::Pack<T> pack;
#pragma unroll
    for (int i = 0; i < Width; ++i) pack.value[i] = piece.value[i];
    cuda::store_pack(at, pack);
  }
}

template <class T, int Width>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(T* __restrict__ y, const T* __restrict__ gate_up, int64_t rows, int64_t width) {
  const int64_t f = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * Width;
  if (f >= width) return;
  for (int64_t n = blockIdx.y; n < rows; n += gridDim.y) {
    const auto gate = load<T, Width>(gate_up + 2 * n * width + f);
    const auto up = load<T, Width>(gate_up + (2 * n + 1) * width + f);
    Piece<T, Width> out;
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      out.value[i] = gate.value[i] * sigmoid(gate.value[i]) * up.value[i];
    }
    store(y + n * width + f, out);
  }
}

/// dgate_up may be gate_up: a thread reads its elements before it writes them.
template <class T, int Width>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(T* dgate_up, const T* dy, const T* gate_up, int64_t rows, int64_t width) {
  const int64_t f = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * Width;
  if (f >= width) return;
  for (int64_t n = blockIdx.y; n < rows; n += gridDim.y) {
    const int64_t at = 2 * n * width + f;
    const auto gate = load<T, Width>(gate_up + at);
    const auto up = load<T, Width>(gate_up + at + width);
    const auto gradient = load<T, Width>(dy + n * width + f);
    Piece<T, Width> dgate, dup;
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const float g = gate.value[i];
      const float s = sigmoid(g);
      dgate.value[i] = gradient.value[i] * up.value[i] * s * (1.0F + g * (1.0F - s));
      dup.value[i] = gradient.value[i] * g * s;
    }
    store(dgate_up + at, dgate);
    store(dgate_up + at + width, dup);
  }
}

dim3 grid_of(int64_t rows, int64_t width, int elements) {
  const int64_t blocks = cuda::ceil_div(width, int64_t{kThreads} * elements);
  return {cuda::grid_size(blocks), static_cast<unsigned>(std::min(rows, kMostRows)), 1};
}

template <class T>
void forward(const SwigluForward& a, Context& ctx) {
  const int64_t rows = a.y.dim(0);
  const int64_t width = a.y.dim(1);
  const bool packed = cuda::in_packs(width, a.y, a.gate_up);
  const int elements = packed ? cuda::kLanes<T> : 1;
  cuda::launch(packed ? &forward_kernel<T, cuda::kLanes<T>> : &forward_kernel<T, 1>,
               grid_of(rows, width, elements), dim3(kThreads), 0, cuda::stream(ctx), a.y.as<T>(),
               a.gate_up.as<T>(), rows, width);
}

template <class T>
void backward(const SwigluBackward& a, Context& ctx) {
  const int64_t rows = a.dy.dim(0);
  const int64_t width = a.dy.dim(1);
  const bool packed = cuda::in_packs(width, a.dgate_up, a.dy, a.gate_up);
  const int elements = packed ? cuda::kLanes<T> : 1;
  cuda::launch(packed ? &backward_kernel<T, cuda::kLanes<T>> : &backward_kernel<T, 1>,
               grid_of(rows, width, elements), dim3(kThreads), 0, cuda::stream(ctx),
               a.dgate_up.as<T>(), a.dy.as<T>(), a.gate_up.as<T>(), rows, width);
}

}  // namespace

void swiglu_forward_cuda(const SwigluForward& a, Context& ctx) {
  if (a.y.count() == 0) return;
  a.y.dtype == DType::BF16 ? forward<BFloat16>(a, ctx) : forward<float>(a, ctx);
}

void swiglu_backward_cuda(const SwigluBackward& a, Context& ctx) {
  if (a.dy.count() == 0) return;
  a.dy.dtype == DType::BF16 ? backward<BFloat16>(a, ctx) : backward<float>(a, ctx);
}

}  // namespace pivot
