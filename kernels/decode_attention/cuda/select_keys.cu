// Top-k, second pass: the last kept key of every set, one block a set. A radix select over rank_key
// (order.h), score bits first and index bits after them, so that ties need no rule of their own.
// Usually two passes over the scores: a histogram of the leading 11 bits, then the keys of the bin
// that holds the cut go to shared memory; where too many share it (equal scores, very long rows)
// the next digits are counted over the whole row too. At 128K keys a pass reads 512 KiB from L2.
#include "kernels/decode_attention/cuda/problem.cuh"
#include "kernels/decode_attention/cuda/stages.h"

namespace pivot::decode {
namespace {

constexpr int kSelectThreads = 1024;
constexpr int kBins = 2048;
constexpr int kCandidates = 4096;
constexpr int kDigits = 6;

// Bits below each digit of a rank_key: 11 + 11 + 10 of the score, as many of the index.
__device__ __forceinline__ int digit_shift(int digit) {
  constexpr int kShift[kDigits] = {53, 42, 32, 21, 10, 0};
  return kShift[digit];
}
__device__ __forceinline__ int digit_bins(int digit) {
  return digit % 3 == 2 ? 1024 : kBins;
}

struct Shared {
  uint64_t candidates[kCandidates];
  int32_t bins[kBins];
  int32_t warps[kSelectThreads / cuda::kWarp];
  unsigned long long last;
  int32_t found, bin, above, inside;
};

// The scores of one row and what replaces them.
struct RankedRow {
  const float* scores;
  int32_t n;
  int sink, recent;

  __device__ uint64_t key(float score, int32_t j) const {
    const bool forced = is_forced(j, 0, n - 1, sink, recent);
    return rank_key(forced ? kForcedScore : score, j);
  }
  // f(rank_key) for all keys, a thread's own in flight four loads at a time.
  template <class F>
  __device__ void for_each(F&& f) const {
    constexpr int kWide = 4, kLoads = 4;
    constexpr int kStep = kSelectThreads * kWide;
    for (int32_t at = static_cast<int32_t>(threadIdx.x) * kWide; at < n; at += kStep * kLoads) {
      float4 loaded[kLoads];
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        if (at + u * kStep < n) {
          loaded[u] = *reinterpret_cast<const float4*>(scores + at + u * kStep);
        }
      }
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const float value[kWide] = {loaded[u].x, loaded[u].y, loaded[u].z, loaded[u].w};
#pragma unroll
        for (int i = 0; i < kWide; ++i) {
          const int32_t j = at + u * kStep + i;
          if (j < n) f(key(value[i], j));
        }
      }
    }
  }
};

// The bin that holds the `wanted`-th key from the top, into shared.{bin, above, inside}.
__device__ void find_bin(Shared& s, int bins, int32_t wanted) {
  constexpr int kPerThread = kBins / kSelectThreads;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int top = bins - 1 - thread * kPerThread;
  int32_t own[kPerThread];
  int32_t total = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    own[i] = top - i >= 0 ? s.bins[top - i] : 0;
    total += own[i];
  }
  int32_t through = total;  // of this warp, up to and with this thread
#pragma unroll
  for (int step = 1; step < cuda::kWarp; step *= 2) {
    const int32_t other = __shfl_up_sync(cuda::kAllLanes, through, step);
    if (lane >= step) through += other;
  }
  if (lane == cuda::kWarp - 1) s.warps[thread / cuda::kWarp] = through;
  __syncthreads();
  int32_t above = through - total;
  for (int w = 0; w < thread / cuda::kWarp; ++w) above += s.warps[w];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (above < wanted && wanted <= above + own[i]) {
      s.bin = top - i;
      s.above = above;
      s.inside = own[i];
    }
    above += own[i];
  }
  __syncthreads();
}

// The rank_key of the k-th of the row's keys, 0 < k <= n.
__device__ uint64_t select_last(Shared& s, const RankedRow& row, int32_t k) {
  const int thread = static_cast<int>(threadIdx.x);
  bool gathered = false;
  int32_t candidates = 0;
  uint64_t prefix = 0;
  int32_t wanted = k;
  // f(key) for the keys whose digits so far are the prefix (they end at `shift`).
  const auto for_each_inside = [&](int shift, auto&& f) {
    const auto visit = [&](uint64_t key) {
      if (shift == 64 || key >> shift == prefix) f(key);
    };
    if (!gathered) {
      row.for_each(visit);
    } else {
      for (int i = thread; i < candidates; i += kSelectThreads) visit(s.candidates[i]);
    }
  };
  int above_shift = 64;
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = digit_shift(digit);
    const int bins = digit_bins(digit);
    for (int i = thread; i < bins; i += kSelectThreads) s.bins[i] = 0;
    if (thread == 0) {
      s.found = 0;
      s.last = ~0ULL;
    }
    __syncthreads();
    for_each_inside(above_shift, [&](uint64_t key) {
      atomicAdd(&s.bins[static_cast<uint32_t>(key >> shift) & static_cast<uint32_t>(bins - 1)], 1);
    });
    __syncthreads();
    find_bin(s, bins, wanted);
    const int32_t inside = s.inside;
    wanted -= s.above;
    prefix = (digit == 0 ? 0 : prefix * static_cast<uint64_t>(bins)) + static_cast<uint64_t>(s.bin);
    above_shift = shift;
    if (inside == wanted) break;  // all of them are kept: the last is the least
    if (!gathered && inside <= kCandidates) {
      for_each_inside(shift, [&](uint64_t key) { s.candidates[atomicAdd(&s.found, 1)] = key; });
      __syncthreads();
      gathered = true;
      candidates = inside;
    }
  }
  unsigned long long least = ~0ULL;
  for_each_inside(above_shift, [&](uint64_t key) { least = key < least ? key : least; });
#pragma unroll
  for (int step = cuda::kWarp / 2; step > 0; step /= 2) {
    const unsigned long long other = __shfl_xor_sync(cuda::kAllLanes, least, step);
    least = other < least ? other : least;
  }
  if (thread % cuda::kWarp == 0) atomicMin(&s.last, least);
  __syncthreads();
  return s.last;
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads) select_keys_kernel(Problem<T> p) {
  __shared__ Shared s;
  const int64_t b = blockIdx.y;
  const int selection = static_cast<int>(blockIdx.x);
  const int64_t n = p.lengths[b];
  if (p.keeps_all(n)) return;
  const bool shares = p.mode != SelectionGroup::Head;
  const int heads = shares ? p.group : 1;
  const int64_t first = b * p.heads + static_cast<int64_t>(selection) * heads;
  int32_t bad = 0;
  const int64_t splits = (n + kSplitTokens - 1) / kSplitTokens;
  for (int h = 0; h < heads; ++h) {
    for (int64_t i = threadIdx.x; i < splits; i += kSelectThreads) {
      bad |= p.nan[(first + h) * p.splits + i];
    }
  }
  const bool nan = cuda::block_sum<kSelectThreads>(bad, s.warps) != 0;
  __syncthreads();
  uint64_t last = rank_key(-kInfinity, static_cast<int32_t>(n - 1));
  if (!nan) {
    const RankedRow row{
        shares ? p.ranks + (b * p.kv_heads + selection) * p.row : p.scores + first * p.row,
        static_cast<int32_t>(n), p.sink, p.recent};
    last = select_last(s, row, static_cast<int32_t>(p.budget(n)));
  }
  if (threadIdx.x == 0) p.nan_rows[b * p.selections + selection] = nan ? 1 : 0;
  for (int h = static_cast<int>(threadIdx.x); h < heads; h += kSelectThreads) {
    p.tau[first + h] = rank_score(last);
    p.jcut[first + h] = rank_index(last);
  }
}

}  // namespace

template <class T>
void select_keys(const Problem<T>& p, Context& ctx) {
  const dim3 grid(cuda::grid_size(p.selections), cuda::grid_size(p.sequences));
  cuda::launch(&select_keys_kernel<T>, grid, kSelectThreads, 0, cuda::stream(ctx), p);
}

template void select_keys(const Problem<float>& p, Context& ctx);
template void select_keys(const Problem<BFloat16>& p, Context& ctx);

}  // namespace pivot::decode
