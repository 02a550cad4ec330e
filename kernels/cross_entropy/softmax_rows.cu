#include <limits>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/softmax_rows.h"
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot::cuda {
namespace {

// Two blocks of 512 threads per multiprocessor: one loads while the other computes, and 16 packs in
// flight per lane pair cover the memory's latency.
constexpr int kThreads = 512;
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kGroup = 4;  // packs a thread loads before it uses the first
// Static shared memory of a block and what the hardware keeps for itself.
constexpr int64_t kSharedOverhead = 2048;

template <class T>
struct Rows {
  T* z;
  int64_t stride;
  int vocab;
  int resident;  // packs of a row that stay in shared memory for the second pass
  const int32_t* targets;
  float* loss;
  float scale;
  bool gradient;
};

/// exp(x): F32 as exact as expf; for BF16 3 |x| + 6 units of 2^-24, far below a logit's rounding.
template <class T>
__device__ float exponential(float x) {
  constexpr float kLog2E = 1.44269504F;
  return sizeof(T) == 4 ? expf(x) : exp2_fast(x * kLog2E);
}

/// The lanes of pack `index` from `vocab` on get `value`.
template <class T>
__device__ void fill_tail(Pack<T>& pack, int index, int vocab, float value) {
  if ((index + 1) * kLanes<T> <= vocab) return;
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) {
    if (index * kLanes<T> + i >= vocab) pack.value[i] = value;
  }
}

/// Largest logit and sum of exp(logit - largest), of what a thread or the block has seen.
struct Partition {
  float largest = -std::numeric_limits<float>::max();  // finite: exp(-inf - largest) is 0
  float sum = 0;
};

/// Reads the thread's packs of the row, leaving the first `resident` packs in `kept`.
template <class T>
__device__ Partition read_row(const T* row, const Rows<T>& a, int packs, T* kept) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Partition p;
  for (int first = static_cast<int>(threadIdx.x); first < packs; first += kThreads * kGroup) {
    uint4 raw[kGroup];
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const int at = first + j * kThreads;
      if (at < packs) raw[j] = reinterpret_cast<const uint4*>(row)[at];
    }
    Pack<T> z[kGroup];
    float largest = p.largest;
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const int at = first + j * kThreads;
      if (at < a.resident) reinterpret_cast<uint4*>(kept)[at] = raw[j];
      z[j] = load_pack(reinterpret_cast<const T*>(&raw[j]));
      fill_tail(z[j], at, a.vocab, -kInfinity);
#pragma unroll
      for (int i = 0; i < kLanes<T>; ++i) largest = fmaxf(largest, z[j].value[i]);
    }
    p.sum *= exponential<T>(p.largest - largest);
    p.largest = largest;
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
#pragma unroll
      for (int i = 0; i < kLanes<T>; ++i) p.sum += exponential<T>(z[j].value[i] - largest);
    }
  }
  return p;
}

/// Row = factor * exp(row - largest), zeros in the padding.
template <class T>
__device__ void write_gradient(T* row, const Rows<T>& a, int packs, const T* kept, float largest,
                               float factor) {
  const auto replace = [&](int at, const T* from) {
    Pack<T> pack = load_pack(from);
#pragma unroll
    for (int i = 0; i < kLanes<T>; ++i) {
      pack.value[i] = exponential<T>(pack.value[i] - largest) * factor;
    }
    fill_tail(pack, at, a.vocab, 0);
    store_pack(row + at * kLanes<T>, pack);
  };
  int at = static_cast<int>(threadIdx.x);
#pragma unroll 4
  for (; at < a.resident; at += kThreads) replace(at, kept + at * kLanes<T>);
#pragma unroll 4
  for (; at < packs; at += kThreads) replace(at, row + at * kLanes<T>);
}

template <class T>
__device__ void fill_row(T* row, int packs, float value) {
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < kLanes<T>; ++i) pack.value[i] = value;
  for (int at = static_cast<int>(threadIdx.x); at < packs; at += kThreads) {
    store_pack(row + at * kLanes<T>, pack);
  }
}

/// One block per row. The row is read once, what does not fit into shared memory twice (the second
/// time from the L2 cache, where the rows under way fit).
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    softmax_rows_kernel(const Rows<T> a) {
  __shared__ float maxima[kThreads / kWarp];
  __shared__ float sums[kThreads / kWarp];
  const int packs = static_cast<int>(a.stride) / kLanes<T>;
  T* row = a.z + int64_t{blockIdx.x} * a.stride;
  const int32_t target = a.targets[blockIdx.x];
  if (target < 0 || target >= a.vocab) {
    const float value = target == kIgnoreTarget ? 0 : std::numeric_limits<float>::quiet_NaN();
    if (threadIdx.x == 0) a.loss[blockIdx.x] = value;
    if (a.gradient) fill_row(row, packs, value);
    return;
  }
  T* kept = reinterpret_cast<T*>(dynamic_shared());
  const float target_logit = as_float(row[target]);
  const Partition p = read_row(row, a, packs, kept);
  const float largest = block_max<kThreads>(p.largest, maxima);
  const float sum = block_sum<kThreads>(p.sum * exponential<T>(p.largest - largest), sums);
  // The difference first: near a perfect prediction both terms are small, the logits are not.
  if (threadIdx.x == 0) a.loss[blockIdx.x] = largest - target_logit + logf(sum);
  if (!a.gradient) return;
  const float factor = a.scale / sum;
  write_gradient(row, a, packs, kept, largest, factor);
  // By the thread that has just written the target's pack.
  if (target / kLanes<T> % kThreads == static_cast<int>(threadIdx.x)) {
    row[target] = from_float<T>(exponential<T>(target_logit - largest) * factor - a.scale);
  }
}

template <class T>
void launch_rows(const SoftmaxRows& a, Context& ctx) {
  const int64_t packs = a.logits.dim(1) / kLanes<T>;
  const int64_t shared = limits(ctx).shared_memory / kBlocksPerMultiprocessor - kSharedOverhead;
  const bool gradient = a.gradient == LogitGradient::InPlace;
  const int64_t resident = gradient ? std::min(packs, shared / 16) : 0;
  const auto bytes = static_cast<size_t>(resident * 16);
  allow_shared_memory(&softmax_rows_kernel<T>, bytes);
  launch(&softmax_rows_kernel<T>, dim3(grid_size(a.logits.dim(0))), dim3(kThreads), bytes,
         stream(ctx),
         Rows<T>{.z = a.logits.as<T>(),
                 .stride = a.logits.dim(1),
                 .vocab = static_cast<int>(a.vocab),
                 .resident = static_cast<int>(resident),
                 .targets = a.targets.as<int32_t>(),
                 .loss = a.loss.as<float>(),
                 .scale = a.grad_scale,
                 .gradient = gradient});
}

}  // namespace

void softmax_rows(const SoftmaxRows& a, Context& ctx) {
  const int64_t rows = a.logits.dim(0);
  expect(a.targets, DType::I32, {rows}, "targets");
  expect(a.loss, DType::F32, {rows}, "loss");
  PIVOT_CHECK(a.logits.dim(1) % 64 == 0 && a.vocab > 0 && a.vocab <= a.logits.dim(1),
              "logits {}, vocabulary {}", to_string(a.logits.shape), a.vocab);
  if (rows == 0) return;
  if (a.logits.dtype == DType::BF16) {
    launch_rows<BFloat16>(a, ctx);
  } else {
    launch_rows<float>(a, ctx);
  }
}

}  // namespace pivot::cuda
