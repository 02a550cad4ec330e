// Top-k, third pass: a block looks through the scores of a range of keys, lists the kept ones in
// ascending order and gathers their values, 16 bytes a thread. Ranges are fixed and so is the order
// of every sum: the same bits each time, without a list of the whole row.
#include "kernels/decode_attention/cuda/stages.h"
#include "kernels/decode_attention/cuda/tile.cuh"

namespace pivot::decode {
namespace {

constexpr int kPerThread = kRangeTokens / kThreads;
constexpr int kRangePages = kRangeTokens / kPageTokens;
constexpr int kResident = 8;  // of 16 KiB each
static_assert(kPerThread == 16, "a thread's keys are the bits of one word");

template <class T>
struct Shared {
  float weights[kRangeTokens];
  int16_t keys[kRangeTokens];
  float sums[kThreads * cuda::kLanes<T>];
  float space[kWarps];
  int32_t counts[kWarps];
  int32_t pages[kRangePages];
};

// Lists the kept keys of the range with this head's scores; returns how many.
template <class T>
__device__ int list_kept(Shared<T>& s, const Problem<T>& p, const Piece& piece) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % cuda::kWarp;
  const int head = piece.inner;
  const int64_t row = piece.b * p.heads + head;
  const float* scores = p.scores + row * p.row + piece.begin;
  const float* ranks =
      p.ranks == nullptr ? scores
                         : p.ranks + (piece.b * p.kv_heads + head / p.group) * p.row + piece.begin;
  const float tau = p.tau[row];
  const int32_t jcut = p.jcut[row];
  const auto begin = static_cast<int32_t>(piece.begin);
  const auto count = static_cast<int32_t>(piece.end - piece.begin);
  const int32_t newest = p.lengths[piece.b] - 1;
  uint32_t kept = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; i += 4) {
    const int32_t first = thread * kPerThread + i;
    if (first >= count) break;
    const float4 loaded = *reinterpret_cast<const float4*>(ranks + first);
    const float value[4] = {loaded.x, loaded.y, loaded.z, loaded.w};
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int32_t j = begin + first + c;
      const float rank = is_forced(j, 0, newest, p.sink, p.recent) ? kForcedScore : value[c];
      if (first + c < count && is_kept(rank, j, tau, jcut)) kept |= 1U << (i + c);
    }
  }
  const int own = __popc(kept);
  int through = own;
#pragma unroll
  for (int step = 1; step < cuda::kWarp; step *= 2) {
    const int other = __shfl_up_sync(cuda::kAllLanes, through, step);
    if (lane >= step) through += other;
  }
  if (lane == cuda::kWarp - 1) s.counts[thread / cuda::kWarp] = through;
  for (int i = thread; i * kPageTokens < count; i += kThreads) {
    s.pages[i] = p.page_table[piece.b * p.table_width + begin / kPageTokens + i];
  }
  __syncthreads();
  int at = through - own;
  int total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w < thread / cuda::kWarp) at += s.counts[w];
    total += s.counts[w];
  }
  for (; kept != 0; kept &= kept - 1) {
    const int key = thread * kPerThread + __ffs(static_cast<int>(kept)) - 1;
    s.keys[at] = static_cast<int16_t>(key);
    s.weights[at] = scores[key];
    ++at;
  }
  __syncthreads();
  return total;
}

// Scores to weights; returns the largest score and the sum.
template <class T>
__device__ Running weigh(Shared<T>& s, int total, float scale) {
  float top = -kInfinity;
  for (int i = static_cast<int>(threadIdx.x); i < total; i += kThreads) {
    top = fmaxf(top, s.weights[i]);
  }
  top = cuda::block_max<kThreads>(top, s.space);
  const float base = top == -kInfinity ? 0.0F : top;
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < total; i += kThreads) {
    const float weight = expf(scale * (s.weights[i] - base));
    s.weights[i] = weight;
    sum += weight;
  }
  __syncthreads();
  return {top, cuda::block_sum<kThreads>(sum, s.space)};
}

// Sum of the kept values times their weights, into `out` (D).
template <class T>
__device__ void gather(Shared<T>& s, const Problem<T>& p, const Piece& piece, int total,
                       float* out) {
  constexpr int kColumns = cuda::kLanes<T>;
  constexpr int kLoads = 4;
  const Lanes<T> lanes(p.head_dim);
  const int64_t first_page = int64_t{piece.inner / p.group} * p.pages;
  float acc[kColumns] = {};
  for (int i = lanes.first; lanes.active && i < total; i += lanes.step * kLoads) {
    cuda::Pack<T> value[kLoads];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int at = i + u * lanes.step;
      if (at >= total) break;
      const int key = s.keys[at];
      const int64_t token =
          (first_page + s.pages[key / kPageTokens]) * kPageTokens + key % kPageTokens;
      value[u] = cuda::load_pack(p.v_pages + token * p.head_dim + lanes.column);
    }
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int at = i + u * lanes.step;
      if (at >= total) break;
      const float weight = s.weights[at];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) acc[c] = fmaf(weight, value[u].value[c], acc[c]);
    }
  }
  if (lanes.active) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) s.sums[lanes.first * p.head_dim + lanes.column + c] = acc[c];
  }
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < p.head_dim; d += kThreads) {
    float sum = 0;
    for (int r = 0; r < lanes.step; ++r) sum += s.sums[r * p.head_dim + d];
    out[d] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, kResident) attend_kept_kernel(Problem<T> p) {
  __shared__ Shared<T> s;
  Piece piece;
  for (int64_t item = blockIdx.x; find_piece(p, Which::TopK, item, kRangeTokens, p.heads, &piece);
       item += gridDim.x) {
    const int selection = p.mode == SelectionGroup::Head ? piece.inner : piece.inner / p.group;
    if (p.nan_rows[piece.b * p.selections + selection] != 0) continue;
    const int total = list_kept(s, p, piece);
    const int64_t slot = (piece.b * p.heads + piece.inner) * p.slots + piece.index;
    const Running part = weigh(s, total, p.scale);
    if (part.sum != 0) gather(s, p, piece, total, p.acc + slot * p.head_dim);
    if (threadIdx.x == 0) {
      p.max[slot] = part.max;
      p.sum[slot] = part.sum;
    }
    __syncthreads();
  }
}

}  // namespace

template <class T>
void attend_kept(const Problem<T>& p, int64_t ranges, Context& ctx) {
  const int64_t most = p.sequences * ranges * p.heads;
  const int64_t blocks = std::min(most, int64_t{kResident} * cuda::limits(ctx).multiprocessors);
  cuda::launch(&attend_kept_kernel<T>, cuda::grid_size(blocks), kThreads, 0, cuda::stream(ctx), p);
}

template void attend_kept(const Problem<float>& p, int64_t ranges, Context& ctx);
template void attend_kept(const Problem<BFloat16>& p, int64_t ranges, Context& ctx);

}  // namespace pivot::decode
