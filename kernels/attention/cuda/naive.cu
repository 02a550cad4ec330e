// Forward of the naive path: a block a row (or, where a KV group shares its sets, a block a token
// and KV head), its scores in global memory, the k-th score by a radix select.

#include "kernels/attention/cuda/naive.cuh"
#include "kernels/attention/cuda/naive_scratch.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/cuda/launch.cuh"

namespace pivot::attention {
namespace naive {
namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;

template <class T>
struct Forward {
  Problem<T> problem;
  T* out;
  float* lse;
  float* tau;
  int32_t* jcut;
  float* lse_visible;  // or null, as the two below
  float* entropy;
  int32_t* nan_rows;
  float* scores;    // (blocks, heads of a row, longest)
  int64_t longest;  // tokens of a document
};

struct Space {
  List list;
  int histogram[kDigits];
  float reals[kThreads / cuda::kWarp];
  int integers[kThreads / cuda::kWarp];
  uint32_t digit;
  int need;
  int32_t jcut;
};

// One selection: the keys that a query sees and the scores of the heads that share the set.
struct Row {
  int32_t query;
  int32_t begin;   // of the document
  int32_t count;   // visible keys
  int first_head;  // heads [first_head, first_head + heads) share the set
  int heads;
  float* scores;  // (heads, stride)
  int64_t stride;

  __device__ float score(int head, int32_t i) const {
    return scores[(head - first_head) * stride + i];
  }
};

template <class T>
__device__ float rank(const Problem<T>& p, const Row& row, int32_t i) {
  return ranking_score(p, row.first_head, row.begin + i, row.begin, row.query,
                       [&](int head) { return row.score(head, i); });
}

template <class T>
__device__ bool kept(const Problem<T>& p, const Row& row, const Cut& cut, int32_t i) {
  return cut.keeps_all(row.query) || is_kept(rank(p, row, i), row.begin + i, cut.tau, cut.jcut);
}

// The longest rows come first.
template <class T>
__device__ Row row_of(const Forward<T>& a, int64_t item) {
  const Problem<T>& p = a.problem;
  const int per_token = p.shared_sets() ? p.kv_heads : p.heads;
  const auto query = static_cast<int32_t>(p.tokens - 1 - item / per_token);
  const int32_t begin = document_of(p.doc_offsets, p.documents, query).begin;
  const int heads = p.shared_sets() ? p.group : 1;
  return {.query = query,
          .begin = begin,
          .count = query - begin + 1,
          .first_head = static_cast<int>(item % per_token) * heads,
          .heads = heads,
          .scores = a.scores + int64_t{blockIdx.x} * heads * a.longest,
          .stride = a.longest};
}

// Returns whether a rank that this thread saw is NaN. Each thread writes the scores that it reads
// again until the block has met.
template <class T>
__device__ bool write_scores(const Problem<T>& p, const Row& row) {
  bool nan = false;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < row.count; i += kThreads) {
    const T* key = p.key(row.begin + i, row.first_head / p.group);
    for (int h = 0; h < row.heads; ++h) {
      row.scores[h * row.stride + i] = score(p.query(row.query, row.first_head + h), key, p.width);
    }
    nan = nan || std::isnan(rank(p, row, i));
  }
  return nan;
}

// Warp 0: the digit of the need-th largest value in the histogram, and which one of that digit's
// values it is.
__device__ void find_digit(int need, Space& space) {
  constexpr int kPerLane = kDigits / cuda::kWarp;
  const int lane = static_cast<int>(threadIdx.x);
  const int top = kDigits - 1 - lane * kPerLane;  // lane 0 has the largest digits
  int own = 0;
  for (int i = 0; i < kPerLane; ++i) own += space.histogram[top - i];
  int through = own;  // of this lane and those before
  for (int step = 1; step < cuda::kWarp; step *= 2) {
    const int below = __shfl_up_sync(cuda::kAllLanes, through, step);
    if (lane >= step) through += below;
  }
  int above = through - own;
  if (above >= need || through < need) return;
  for (int i = 0;; ++i) {
    const int here = space.histogram[top - i];
    if (above + here >= need) {
      space.digit = static_cast<uint32_t>(top - i);
      space.need = need - above;
      return;
    }
    above += here;
  }
}

// Index of the need-th key, ascending, whose rank has these bits.
template <class T>
__device__ int32_t nth_tie(const Problem<T>& p, const Row& row, uint32_t bits, int need,
                           Space& space) {
  int seen = 0;
  for (int32_t first = 0; seen < need && first < row.count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const bool tie = i < row.count && ordered_bits(rank(p, row, i)) == bits;
    const Position at = position_of(tie, space.list.counts);
    if (tie && seen + at.before + 1 == need) space.jcut = row.begin + i;
    seen += at.total;
  }
  __syncthreads();
  return space.jcut;
}

// The k first of the row's keys, fewer than all of them; no rank is NaN.
template <class T>
__device__ Cut select(const Problem<T>& p, const Row& row, int64_t k, Space& space) {
  const int tid = static_cast<int>(threadIdx.x);
  uint32_t prefix = 0;
  int need = static_cast<int>(k);
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = tid; i < kDigits; i += kThreads) space.histogram[i] = 0;
    __syncthreads();
    for (int32_t i = tid; i < row.count; i += kThreads) {
      const uint32_t bits = ordered_bits(rank(p, row, i));
      if ((uint64_t{bits ^ prefix} >> (shift + kDigitBits)) == 0) {
        atomicAdd(&space.histogram[bits >> shift & (kDigits - 1)], 1);
      }
    }
    __syncthreads();
    if (tid < cuda::kWarp) find_digit(need, space);
    __syncthreads();
    prefix |= space.digit << shift;
    need = space.need;
  }
  return {rank_score(uint64_t{prefix} << 32), nth_tie(p, row, prefix, need, space)};
}

// Maxima of the scores of a head.
struct Maxima {
  float kept;
  float visible;
};
template <class T>
__device__ Maxima maxima_of(const Problem<T>& p, const Row& row, const Cut& cut, int head,
                            Space& space) {
  Maxima max{-kInfinity, -kInfinity};
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < row.count; i += kThreads) {
    const float s = row.score(head, i);
    max.visible = fmaxf(max.visible, s);
    if (kept(p, row, cut, i)) max.kept = fmaxf(max.kept, s);
  }
  __syncthreads();
  max.kept = cuda::block_max<kThreads>(max.kept, space.reals);
  __syncthreads();
  max.visible = cuda::block_max<kThreads>(max.visible, space.reals);
  return max;
}

struct Sums {
  float kept;     // of e = exp(scale (s - max)) over the kept keys
  float moment;   // of e ln e
  float visible;  // of e, relative to their own maximum, over the visible keys
};
template <class T>
__device__ Sums sums_of(const Forward<T>& a, const Row& row, const Cut& cut, int head,
                        const Maxima& max, Space& space) {
  const Problem<T>& p = a.problem;
  const bool all = cut.keeps_all(row.query);
  Sums sums{0, 0, 0};
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < row.count; i += kThreads) {
    const float s = row.score(head, i);
    if (!all && a.lse_visible != nullptr) sums.visible += expf((s - max.visible) * p.scale);
    if (!kept(p, row, cut, i)) continue;
    const float x = (s - max.kept) * p.scale;
    const float e = expf(x);
    sums.kept += e;
    sums.moment += e == 0.0F ? 0.0F : e * x;  // 0 ln 0 is 0
  }
  __syncthreads();
  sums.kept = cuda::block_sum<kThreads>(sums.kept, space.reals);
  __syncthreads();
  sums.moment = cuda::block_sum<kThreads>(sums.moment, space.reals);
  __syncthreads();
  sums.visible = cuda::block_sum<kThreads>(sums.visible, space.reals);
  return sums;
}

// out = sum over the kept keys of e v, times `inverse`.
template <class T>
__device__ void write_out(const Forward<T>& a, const Row& row, const Cut& cut, int head, float max,
                          float inverse, Space& space) {
  const Problem<T>& p = a.problem;
  const Columns columns = clear_columns(reinterpret_cast<float*>(cuda::dynamic_shared()), p.width);
  for (int32_t first = 0; first < row.count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const bool take = i < row.count && kept(p, row, cut, i);
    const Position at = position_of(take, space.list.counts);
    if (take) {
      space.list.index[at.before] = row.begin + i;
      space.list.weight[at.before] = expf((row.score(head, i) - max) * p.scale);
    }
    __syncthreads();
    add_rows(columns, space.list.index, space.list.weight, at.total,
             [&](int32_t j) { return p.value(j, head / p.group); });
  }
  __syncthreads();
  store_columns(columns, inverse, a.out + (int64_t{row.query} * p.heads + head) * int64_t{p.width});
}

template <class T>
__device__ void write_nan(const Forward<T>& a, const Row& row, int head) {
  const int64_t at = int64_t{row.query} * a.problem.heads + head;
  T* out = a.out + at * a.problem.width;
  for (int d = static_cast<int>(threadIdx.x); d < a.problem.width; d += kThreads) {
    out[d] = cuda::from_float<T>(kNan);
  }
  if (threadIdx.x != 0) return;
  a.lse[at] = kNan;
  a.tau[at] = -kInfinity;
  a.jcut[at] = row.query;
  if (a.lse_visible != nullptr) a.lse_visible[at] = kNan;
  if (a.entropy != nullptr) a.entropy[at] = kNan;
  if (a.nan_rows != nullptr) atomicAdd(a.nan_rows, 1);
}

// Softmax of one head over the kept keys.
template <class T>
__device__ void finish_head(const Forward<T>& a, const Row& row, const Cut& cut, int head,
                            Space& space) {
  const float scale = a.problem.scale;
  const Maxima max = maxima_of(a.problem, row, cut, head, space);
  const Sums sums = sums_of(a, row, cut, head, max, space);
  if (!std::isfinite(max.kept) || !std::isfinite(sums.kept)) {
    write_nan(a, row, head);
    return;
  }
  const float inverse = 1.0F / sums.kept;
  write_out(a, row, cut, head, max.kept, inverse, space);
  if (threadIdx.x != 0) return;
  const int64_t at = int64_t{row.query} * a.problem.heads + head;
  const float log_sum = logf(sums.kept);
  const float lse = scale * max.kept + log_sum;
  a.lse[at] = lse;
  a.tau[at] = cut.tau;
  a.jcut[at] = cut.jcut;
  if (a.lse_visible != nullptr) {
    a.lse_visible[at] = cut.keeps_all(row.query) ? lse : scale * max.visible + logf(sums.visible);
  }
  if (a.entropy != nullptr) a.entropy[at] = log_sum - sums.moment * inverse;
}

template <class T>
__device__ void forward_row(const Forward<T>& a, const Row& row, Space& space) {
  // A document above max_document has no room for its scores and no answer.
  bool nan = row.count > row.stride;
  Cut cut{-kInfinity, row.query};
  if (!nan) {
    const int nan_ranks =
        cuda::block_sum<kThreads>(static_cast<int>(write_scores(a.problem, row)), space.integers);
    const int64_t k = a.problem.budget(row.count);
    if (k < row.count) {
      nan = nan_ranks > 0;
      if (!nan) cut = select(a.problem, row, k, space);
    }
  }
  for (int h = row.first_head; h < row.first_head + row.heads; ++h) {
    if (nan) {
      write_nan(a, row, h);
    } else {
      finish_head(a, row, cut, h, space);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) forward_rows(Forward<T> a) {
  __shared__ Space space;
  const Problem<T>& p = a.problem;
  const int64_t items = p.tokens * (p.shared_sets() ? p.kv_heads : p.heads);
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    forward_row(a, row_of(a, item), space);
    __syncthreads();
  }
}

template <class T>
void launch_forward(const AttentionForward& a, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const ScoreRoom room = score_room(a);
  const auto or_null = [](const Tensor& t) { return t.present() ? t.as<float>() : nullptr; };
  const Forward<T> forward{
      .problem = problem_of<T>(a),
      .out = a.out.as<T>(),
      .lse = a.lse.as<float>(),
      .tau = a.tau.as<float>(),
      .jcut = a.jcut.as<int32_t>(),
      .lse_visible = or_null(a.lse_visible),
      .entropy = or_null(a.entropy),
      .nan_rows = a.nan_rows.present() ? a.nan_rows.as<int32_t>() : nullptr,
      .scores = ctx.scratch.tensor(DType::F32, {room.blocks, room.heads, room.longest}).as<float>(),
      .longest = room.longest};
  const auto shared = column_floats(forward.problem.width) * sizeof(float);
  cuda::launch(&forward_rows<T>, dim3(cuda::grid_size(room.blocks)), dim3(kThreads), shared,
               cuda::stream(ctx), forward);
}

}  // namespace
}  // namespace naive

void naive_forward(const AttentionForward& a, Context& ctx) {
  if (a.qkv.dim(0) == 0) return;
  if (a.qkv.dtype == DType::F32) {
    naive::launch_forward<float>(a, ctx);
  } else {
    naive::launch_forward<BFloat16>(a, ctx);
  }
}

}  // namespace pivot::attention
