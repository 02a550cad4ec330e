// The partial softmaxes of a row to its results. A block takes 32 channels of one head, lane by
// lane; warp w sums the partials w, w + kWarps, ... in ascending order, then the warps are summed
// in theirs.
#include "kernels/decode_attention/cuda/problem.cuh"
#include "kernels/decode_attention/cuda/stages.h"

namespace pivot::decode {
namespace {

constexpr int kMergeThreads = 256;
constexpr int kMergeWarps = kMergeThreads / cuda::kWarp;

struct Shared {
  float acc[kMergeWarps][cuda::kWarp];
  float sum[kMergeWarps];
  float space[kMergeWarps];
};

__device__ float largest(const float* max, int64_t count, Shared& s) {
  float top = -kInfinity;
  for (int64_t i = threadIdx.x; i < count; i += kMergeThreads) top = fmaxf(top, max[i]);
  top = cuda::block_max<kMergeThreads>(top, s.space);
  __syncthreads();
  return top;
}

// Of a partial whose sum is not 0; NaN if its scores are NaN or infinite.
__device__ __forceinline__ float factor_of(float max, float top, float scale) {
  return expf(scale * (max - top));
}

__device__ float log_sum_exp(float top, float total, float scale) {
  return total == 0 ? -kInfinity : scale * top + logf(total);
}

// lse_visible of a row from the partial sums of its splits.
template <class T>
__device__ float visible_lse(const Problem<T>& p, int64_t row, int64_t n, Shared& s) {
  const int64_t count = (n + kSplitTokens - 1) / kSplitTokens;
  const float* max = p.visible_max + row * p.splits;
  const float* sum = p.visible_sum + row * p.splits;
  const float top = largest(max, count, s);
  float total = 0;
  for (int64_t i = threadIdx.x; i < count; i += kMergeThreads) {
    if (sum[i] != 0) total += sum[i] * factor_of(max[i], top, p.scale);
  }
  total = cuda::block_sum<kMergeThreads>(total, s.space);
  __syncthreads();
  return log_sum_exp(top, total, p.scale);
}

template <class T>
__global__ void __launch_bounds__(kMergeThreads) merge_parts_kernel(Problem<T> p) {
  __shared__ Shared s;
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp;
  const int warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  const int head = static_cast<int>(blockIdx.y);
  const int64_t b = blockIdx.z;
  const int64_t n = p.lengths[b];
  const int64_t row = b * p.heads + head;
  const int channel = static_cast<int>(blockIdx.x) * cuda::kWarp + lane;
  const bool inside = channel < p.head_dim;
  const bool dense = p.keeps_all(n);
  const int64_t tokens = dense ? kSplitTokens : kRangeTokens;
  const int set = p.mode == SelectionGroup::Head ? head : head / p.group;
  bool nan = !dense && p.nan_rows[b * p.selections + set] != 0;
  // A row with a NaN score has no partials.
  const int64_t count = nan ? 0 : (n + tokens - 1) / tokens;

  const float* max = p.max + row * p.slots;
  const float* sum = p.sum + row * p.slots;
  const float* acc = p.acc + row * p.slots * p.head_dim;
  const float top = largest(max, count, s);
  float mine = 0, total = 0;
#pragma unroll 4
  for (int64_t i = warp; i < count; i += kMergeWarps) {
    if (sum[i] == 0) continue;
    const float factor = factor_of(max[i], top, p.scale);
    total += factor * sum[i];
    if (inside) mine = fmaf(factor, acc[i * p.head_dim + channel], mine);
  }
  s.acc[warp][lane] = mine;
  if (lane == 0) s.sum[warp] = total;
  __syncthreads();
  mine = total = 0;
  for (int w = 0; w < kMergeWarps; ++w) {
    mine += s.acc[w][lane];
    total += s.sum[w];
  }
  float lse = log_sum_exp(top, total, p.scale);
  const bool measured = p.lse_visible != nullptr && blockIdx.x == 0;
  float visible = lse;
  if (measured && !dense && !nan) visible = visible_lse(p, row, n, s);
  // Scores that are all -inf, or one that is +inf, have no softmax either.
  nan = nan || (n > 0 && !(fabsf(lse) < kInfinity));
  if (nan) lse = visible = mine = __uint_as_float(0x7FC00000U);
  if (warp == 0 && inside) {
    const float value = n == 0 || nan ? mine : mine / total;
    p.out[row * p.head_dim + channel] = cuda::from_float<T>(value);
  }
  if (threadIdx.x != 0 || blockIdx.x != 0) return;
  p.lse[row] = lse;
  if (p.lse_visible != nullptr) p.lse_visible[row] = visible;
  if (dense || nan) {
    p.tau[row] = -kInfinity;
    p.jcut[row] = static_cast<int32_t>(n - 1);
  }
  if (nan && p.nan_counter != nullptr) atomicAdd(p.nan_counter, 1);
}

}  // namespace

template <class T>
void merge_parts(const Problem<T>& p, Context& ctx) {
  const dim3 grid(cuda::grid_size(cuda::ceil_div(p.head_dim, cuda::kWarp)),
                  cuda::grid_size(p.heads), cuda::grid_size(p.sequences));
  cuda::launch(&merge_parts_kernel<T>, grid, kMergeThreads, 0, cuda::stream(ctx), p);
}

template void merge_parts(const Problem<float>& p, Context& ctx);
template void merge_parts(const Problem<BFloat16>& p, Context& ctx);

}  // namespace pivot::decode
