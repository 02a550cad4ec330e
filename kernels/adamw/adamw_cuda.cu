#include "kernels/adamw/adamw.h"
#include "kernels/cuda/aligned.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot {
namespace {

constexpr int kThreads = 256;
// Two packs of the four arrays a thread: eight loads in flight.
constexpr int kPacks = 2;
constexpr int kWidth = cuda::kLanes<float>;
constexpr int kBlockElements = kThreads * kPacks * kWidth;

struct Arrays {
  float* param;
  float* m;
  float* v;
  const float* grad;
  BFloat16* copy;  // or null
  const int64_t* segment_end;
  const float* decay;
  const AdamWScalars* scalars;
  int64_t count;
  int segments;
  float beta1, beta2, one_minus_beta1, one_minus_beta2, eps;
};

/// The first segment that ends after `element`, of [low, segments).
__device__ int segment_of(const Arrays& a, int64_t element, int low) {
  int high = a.segments - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (a.segment_end[middle] > element) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

/// The update of one element: param, m and v are changed.
__device__ __forceinline__ void update(const Arrays& a, const AdamWScalars& s, float decay,
                                       float grad, float& param, float& m, float& v) {
  const float g = s.grad_scale * grad;
  m = a.beta1 * m + a.one_minus_beta1 * g;
  v = a.beta2 * v + a.one_minus_beta2 * (g * g);
  const float denominator = sqrtf(v) * s.root_correction2 + a.eps;
  param -= s.correction1 * m / denominator + s.lr * decay * param;
}

/// Every kThreads-th element of [begin, end).
__device__ void update_elements(const Arrays& a, const AdamWScalars& s, int64_t begin,
                                int64_t end) {
  for (int64_t i = begin; i < end; i += kThreads) {
    float param = a.param[i];
    float m = a.m[i];
    float v = a.v[i];
    update(a, s, a.decay[segment_of(a, i, 0)], a.grad[i], param, m, v);
    a.param[i] = param;
    a.m[i] = m;
    a.v[i] = v;
    if (a.copy != nullptr) a.copy[i] = cuda::from_float<BFloat16>(param);
  }
}

/// Four elements, of the segments [first, last].
__device__ __forceinline__ void update_pack(const Arrays& a, const AdamWScalars& s, int64_t at,
                                            int first, int last, cuda::Pack<float> param,
                                            cuda::Pack<float> m, cuda::Pack<float> v,
                                            const cuda::Pack<float>& grad) {
  int segment = first == last ? first : segment_of(a, at, first);
  float decay = a.decay[segment];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (first != last) {
      while (a.segment_end[segment] <= at + i) ++segment;  // segments may be empty
      decay = a.decay[segment];
    }
    update(a, s, decay, grad.value[i], param.value[i], m.value[i], v.value[i]);
  }
  cuda::store_pack(a.param + at, param);
  cuda::store_pack(a.m + at, m);
  cuda::store_pack(a.v + at, v);
  if (a.copy != nullptr) {
    *reinterpret_cast<uint2*>(a.copy + at) =
        make_uint2(cuda::pack_bf16(param.value[0], param.value[1]),
                   cuda::pack_bf16(param.value[2], param.value[3]));
  }
}

/// A block has kBlockElements; the last, where it is no whole one, takes its elements one by one.
template <bool Packed>
__global__ void __launch_bounds__(kThreads) adamw_kernel(Arrays a) {
  const AdamWScalars s = *a.scalars;
  if (s.apply == 0) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kBlockElements;
  const int64_t end = begin + kBlockElements < a.count ? begin + kBlockElements : a.count;
  if (!Packed || end - begin < kBlockElements) {
    update_elements(a, s, begin + threadIdx.x, end);
    return;
  }
  cuda::Pack<float> param[kPacks], m[kPacks], v[kPacks], grad[kPacks];
  const auto place = [&](int k) { return begin + (k * kThreads + threadIdx.x) * kWidth; };
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    param[k] = cuda::load_pack(a.param + place(k));
    m[k] = cuda::load_pack(a.m + place(k));
    v[k] = cuda::load_pack(a.v + place(k));
    grad[k] = cuda::load_pack(a.grad + place(k));
  }
  // Nearly every block lies in one segment.
  const int first = segment_of(a, begin, 0);
  const int last = segment_of(a, end - 1, first);
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    update_pack(a, s, place(k), first, last, param[k], m[k], v[k], grad[k]);
  }
}

}  // namespace

void adamw_cuda(const AdamW& a, Context& ctx) {
  const int64_t count = a.param.count();
  if (count == 0) return;
  const Arrays arrays{
      .param = a.param.as<float>(),
      .m = a.m.as<float>(),
      .v = a.v.as<float>(),
      .grad = a.grad.as<float>(),
      .copy = a.copy_bf16.present() ? a.copy_bf16.as<BFloat16>() : nullptr,
      .segment_end = a.segment_end.as<int64_t>(),
      .decay = a.decay.as<float>(),
      .scalars = reinterpret_cast<const AdamWScalars*>(a.scalars.as<float>()),
      .count = count,
      .segments = static_cast<int>(a.decay.dim(0)),
      .beta1 = a.beta1,
      .beta2 = a.beta2,
      .one_minus_beta1 = static_cast<float>(1 - static_cast<double>(a.beta1)),
      .one_minus_beta2 = static_cast<float>(1 - static_cast<double>(a.beta2)),
      .eps = a.eps,
  };
  const bool packed = cuda::in_packs(kWidth, a.param, a.m, a.v, a.grad) &&
                      reinterpret_cast<uintptr_t>(a.copy_bf16.data) % 8 == 0;
  cuda::launch(packed ? &adamw_kernel<true> : &adamw_kernel<false>,
               dim3(cuda::grid_size(cuda::ceil_div(count, kBlockElements))), dim3(kThreads), 0,
               cuda::stream(ctx), arrays);
}

}  // namespace pivot
