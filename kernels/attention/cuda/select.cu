#include "kernels/attention/cuda/select.h"
#include "kernels/attention/cuda/select_pass.cuh"

// How the cut of every row is found.
//
// A block has 64 or 128 consecutive rows of one document and one head (of one KV head, where its
// heads share a set); a warp has 16 or 32 of them and shares nothing but the tiles of keys with the
// other warps. Scores are never stored: a pass computes those of all visible keys with the tensor
// cores, and again in the next pass.
//
// 1. A guess, for rows with many keys: every sample_step-th key gives the range of the scores
//    (first pass) and their histogram in bins of equal width (second pass). The cut is expected at
//    the sample's rank need * sampled / visible; four standard deviations above and below lie the
//    ends of the first interval. Without a guess the interval holds all scores.
// 2. A pass over all keys counts the scores above the interval and its histogram, exactly. If the
//    cut lies in the interval, its bin is the next interval; else the guess was wrong, and the next
//    interval is everything above or below. Intervals that are not a guess are divided by their bit
//    patterns, so that 32 bits are used up after five passes, whatever the scores.
// 3. As soon as the interval holds few candidates, a pass collects them with their indices, and
//    sorting finds the cut. Where more keys than that share one score, passes divide the range of
//    indices first.
// Rows of a block are in step 2 or 3 on their own; passes go on while one of them needs one. Usual
// scores need the sample, one pass of step 2 and one of step 3.
//
// A pass keeps its instructions per score few: a thread compares its scores with the row's lower
// end and pushes those above it to a list of its own (at most 16, the scores of a row it has, so
// the list cannot overflow). Only listed scores are looked at closely.
//
// Shared sets rank by all heads of a group, whose scores are computed from global memory for every
// tile: right, not fast.
//
// Keys that are not visible take the score -inf. That changes nothing: their indices are higher
// than those of all visible keys, so they rank after them.

namespace pivot::attention {
namespace {

constexpr float kDeviations = 4;  // a guess fails for 6e-5 of the rows of normal data
// The cut may lie above all sampled scores if few of them are expected above it: so many times the
// distance from the first interval's lower end to the highest is added (with 1, one of 100 rows was
// missed at 18 of 1700 keys; the bins stay narrow enough to leave 26 candidates for 320 kept keys).
constexpr float kRoomAbove = 3;
// Where less than 1 / 8 of the keys is kept, the cut lies above the mean of all but strange scores,
// and only the scores above it are counted.
constexpr int kUpperHalfShare = 8;

// Before a pass: lane r tells the warp what the pass needs to know of row r.
template <int D, int M, bool Shared>
__device__ __forceinline__ void prepare(const SelectBlock<D, M, Shared>& block,
                                        const RowSearch& search) {
  constexpr int kWarpRows = SelectBlock<D, M, Shared>::kWarpRows;
  const int base = block.warp * kWarpRows;
  auto* histograms = reinterpret_cast<uint4*>(block.space.histogram(base));
  for (int i = block.lane; i < kWarpRows * kMaxBins / 4; i += cuda::kWarp) {
    histograms[i] = make_uint4(0, 0, 0, 0);
  }
  if (block.lane < kWarpRows) {
    const int row = base + block.lane;
    block.space.bins(row) = search.bins(block.args.tuning);
    block.space.span(row) = make_int2(search.first_key, search.end_key);
    block.space.collected(row) = 0;
    block.space.nan(row) = 0;
  }
  __syncwarp();
}

// The end of the search for the lane's row.
template <int D, int M, bool Shared>
__device__ __forceinline__ void write(const SelectBlock<D, M, Shared>& block, float tau, int jcut) {
  const SelectArgs& args = block.args;
  const int heads = Shared ? args.qkv.group() : 1;
  const int64_t at = int64_t{block.own_row()} * args.qkv.heads + int64_t{block.set} * heads;
  for (int h = 0; h < heads; ++h) {
    args.tau[at + h] = tau;
    args.jcut[at + h] = jcut;
  }
}

// After a full pass: the next interval of every row of the warp, or its end.
template <int D, int M, bool Shared>
__device__ __forceinline__ void conclude(const SelectBlock<D, M, Shared>& block,
                                         RowSearch& search) {
  constexpr int kWarpRows = SelectBlock<D, M, Shared>::kWarpRows;
  const SelectTuning& tuning = block.args.tuning;
  const int base = block.warp * kWarpRows;
  const bool owns = block.lane < kWarpRows;
  const int above = owns ? block.space.above(base + block.lane) : 0;
  const int target = search.need - (search.phase == Phase::Values ? above : search.before);
  FoundBin found = {-1, 0, 0};
  uint64_t picked = 0;
  for (int r = 0; r < kWarpRows; ++r) {
    const auto phase =
        static_cast<Phase>(__shfl_sync(cuda::kAllLanes, static_cast<int>(search.phase), r));
    const int rank = __shfl_sync(cuda::kAllLanes, target, r);
    if (phase == Phase::Done) continue;
    if (phase == Phase::Collect) {
      const uint64_t cut = pick(block.space.candidates(base + r), block.space.collected(base + r),
                                rank - 1, block.lane);
      if (block.lane == r) picked = cut;
    } else {
      const FoundBin bin = find_bin(block.space.histogram(base + r), rank, block.lane);
      if (block.lane == r) found = bin;
    }
  }
  if (search.phase == Phase::Done) return;
  if (block.space.nan(base + block.lane) != 0) {
    search.phase = Phase::Done;
    write(block, -std::numeric_limits<float>::infinity(), block.own_row());  // the row will be NaN
  } else if (search.phase == Phase::Collect) {
    search.phase = Phase::Done;
    write(block, rank_score(picked), rank_index(picked));
  } else if (search.phase == Phase::Indices) {
    search.narrow_indices(found, tuning);
  } else {
    search.narrow_values(above, found, tuning);
  }
}

// The first interval of rows in phase Values from a sample of the keys.
template <int D, int M, bool Shared>
__device__ __forceinline__ void guess(const SelectBlock<D, M, Shared>& block, RowSearch& search,
                                      int step) {
  constexpr int kWarpRows = SelectBlock<D, M, Shared>::kWarpRows;
  const int base = block.warp * kWarpRows;
  const int bins = block.args.tuning.bins;
  const bool values = search.phase == Phase::Values;
  prepare(block, search);
  block.template run<SelectPass::Extremes>(step);
  const int visible = block.own_row() - block.begin + 1;
  const int passed = block.own_row() - block.origin(step);  // negative: no key is sampled
  const auto sampled = static_cast<float>(passed < 0 ? 1 : passed / step + 1);
  bool good = false;
  if (values) {
    const float* at = block.space.extremes(base + block.lane);
    const float mean = at[2] / sampled;
    const bool upper_half = int64_t{search.need} * kUpperHalfShare < visible && mean > at[0];
    good = search.bracket(upper_half ? mean : at[0], at[1], bins);
  }
  __syncwarp();
  prepare(block, search);
  block.template run<SelectPass::Histogram>(step);
  const float share = static_cast<float>(search.need) / static_cast<float>(visible);
  const float expected = share * sampled;
  const float margin = kDeviations * sqrtf(expected * (1 - share)) + 2;
  const int above = values ? block.space.above(base + block.lane) : 0;
  const int low_rank = static_cast<int>(ceilf(expected + margin)) - above;
  const int high_rank = static_cast<int>(floorf(expected - margin)) - above;
  int low_bin = -1;
  int high_bin = -1;
  for (int r = 0; r < kWarpRows; ++r) {
    const uint32_t* histogram = block.space.histogram(base + r);
    const int low_target = __shfl_sync(cuda::kAllLanes, low_rank, r);
    const int high_target = __shfl_sync(cuda::kAllLanes, high_rank, r);
    const FoundBin low = find_bin(histogram, low_target, block.lane);
    const FoundBin high = find_bin(histogram, high_target, block.lane);
    if (block.lane == r) {
      low_bin = low.bin;
      high_bin = high.bin;
    }
  }
  __syncwarp();
  if (!good) return;
  const float bottom = score_of(search.lo);
  const float width = 1 / search.inverse;
  const float top = bottom + width * static_cast<float>(bins);
  const float low = low_bin >= 0
                        ? bottom + width * static_cast<float>(low_bin < bins ? low_bin : bins - 1)
                        : bottom - (top - bottom);
  const float high = high_rank < 1 ? top + kRoomAbove * (top - low)
                                   : bottom + width * static_cast<float>(high_bin + 1);
  search.bracket(low, high, bins);
}

// True for all threads if it is for one warp.
template <class Block>
__device__ __forceinline__ bool any_warp(const Block& block, bool mine) {
  const auto& space = block.space;
  const bool in_warp = __any_sync(cuda::kAllLanes, mine);
  if (block.lane == 0) space.vote(block.warp) = in_warp ? 1 : 0;
  __syncthreads();
  const bool any = (space.vote(0) | space.vote(1) | space.vote(2) | space.vote(3)) != 0;
  __syncthreads();
  return any;
}

template <int D, int M, bool Shared>
__global__ void __launch_bounds__(kSelectThreads, 2) select_kernel(const SelectArgs args) {
  using ThisBlock = SelectBlock<D, M, Shared>;
  const int sets = Shared ? args.qkv.kv_heads : args.qkv.heads;
  const Tile tile = args.tiles[static_cast<int>(blockIdx.x) / sets];
  if (tile.first >= tile.end) return;
  ThisBlock block(args, tile, static_cast<int>(blockIdx.x) % sets);
  RowSearch search;
  const int row = block.own_row();
  const int visible = row - tile.begin + 1;
  search.start(tile.begin, row, block.owns() ? static_cast<int>(args.budget(visible)) : visible,
               args.tuning);
  bool open = search.phase != Phase::Done;
  if (block.owns() && !open) write(block, -std::numeric_limits<float>::infinity(), row);
  if (any_warp(block, open)) {
    if constexpr (!Shared) {
      block.queries.load(args.qkv.queries(block.set), block.first, block.last, block.lane);
    }
    block.searching = __any_sync(cuda::kAllLanes, open);
    const int most = (block.last - tile.begin + 1) / args.tuning.least_sample;
    const int step = most < args.tuning.sample_step ? most : args.tuning.sample_step;
    if (step >= 2 && any_warp(block, search.phase == Phase::Values)) {
      guess(block, search, step);
    }
  }
  while (any_warp(block, open)) {
    prepare(block, search);
    const bool general = search.phase == Phase::Collect || search.phase == Phase::Indices;
    if (any_warp(block, general)) {
      block.template run<SelectPass::General>(1);
    } else {
      block.template run<SelectPass::Histogram>(1);
    }
    conclude(block, search);
    __syncwarp();
    open = search.phase != Phase::Done;
    block.searching = __any_sync(cuda::kAllLanes, open);
  }
}

// tau = -inf and jcut = the row: all visible keys are kept.
__global__ void __launch_bounds__(256)
    everything_kernel(float* tau, int32_t* jcut, int64_t count, int heads) {
  const int64_t at = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (at >= count) return;
  tau[at] = -std::numeric_limits<float>::infinity();
  jcut[at] = static_cast<int32_t>(at / heads);
}

template <int D, bool Shared>
void launch(const AttentionForward& a, const SelectTuning& tuning, Context& ctx) {
  constexpr int kGroups = select_rows(Shared) / 64;
  const int64_t tokens = a.qkv.dim(0);
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor tiles = list_tiles(a.doc_offsets, tokens, select_rows(Shared), ctx);
  const int64_t blocks = tiles.dim(0) * (Shared ? a.kv_heads : a.heads);
  const SelectArgs args = {qkv_view(a),
                           reinterpret_cast<const Tile*>(tiles.as<int32_t>()),
                           a.tau.as<float>(),
                           a.jcut.as<int32_t>(),
                           rank_rule(a.policy),
                           budget_of(a.policy),
                           tuning};
  const auto kernel = &select_kernel<D, kGroups, Shared>;
  constexpr size_t kBytes = SelectSpace<D, kGroups>::kBytes;
  cuda::allow_shared_memory(kernel, kBytes);
  cuda::launch(kernel, dim3(cuda::grid_size(blocks)), dim3(kSelectThreads), kBytes,
               cuda::stream(ctx), args);
}

}  // namespace

void select_everything(const AttentionForward& a, Context& ctx) {
  const int64_t count = a.tau.count();
  if (count == 0) return;
  cuda::launch(&everything_kernel, dim3(cuda::grid_size(cuda::ceil_div(count, 256))), dim3(256), 0,
               cuda::stream(ctx), a.tau.as<float>(), a.jcut.as<int32_t>(), count, a.heads);
}

void select_sets(const AttentionForward& a, const SelectTuning& tuning, Context& ctx) {
  const int bins = tuning.bins;
  PIVOT_CHECK(bins >= 2 && bins <= kMaxBins && (bins & (bins - 1)) == 0 &&
                  tuning.list_capacity >= 1 && tuning.list_capacity <= kMaxBins / 2 &&
                  tuning.sample_step >= 0 && tuning.least_sample >= 1,
              "select: {} bins, {} candidates, step {}", bins, tuning.list_capacity,
              tuning.sample_step);
  if (a.qkv.dim(0) == 0) return;
  const int64_t width = a.qkv.dim(2);
  PIVOT_CHECK(width == 64 || width == 128, "select: head width {}", width);
  const bool shared = shares_sets(a);
  if (width == 64) {
    shared ? launch<64, true>(a, tuning, ctx) : launch<64, false>(a, tuning, ctx);
  } else {
    shared ? launch<128, true>(a, tuning, ctx) : launch<128, false>(a, tuning, ctx);
  }
}

}  // namespace pivot::attention
