#include "kernels/attention/cuda/ranking.cuh"
#include "kernels/attention/cuda/row_search.cuh"
#include "kernels/attention/cuda/select.h"
#include "kernels/attention/cuda/tiles.h"
#include "kernels/cuda/launch.cuh"

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
// Keys that are not visible take the score -inf. That changes nothing: their indices are higher
// than those of all visible keys, so they rank after them.

namespace pivot::attention {
namespace {

constexpr int kThreads = 128;
constexpr int kKeys = 64;  // of a tile
constexpr int kKeyGroups = kKeys / 8;
constexpr int kListed = 2 * kKeyGroups;  // scores of one row a thread has
constexpr float kDeviations = 4;         // a guess fails for 6e-5 of the rows of normal data
// Above this share of keys kept the sample's lower half is needed to find the cut.
constexpr int kUpperHalfShare = 8;

struct SelectArgs {
  QkvView qkv;
  const Tile* tiles;
  float* tau;
  int32_t* jcut;
  RankRule rule;
  Budget budget;
  SelectTuning tuning;
};

enum class Pass { Extremes, Histogram, General };

template <int D, int M>
struct Space {
  static constexpr int kRows = 64 * M;
  static constexpr int kTileBytes = tile_bytes<D>(kKeys);

  uint8_t* at;

  __device__ __forceinline__ uint32_t key_tile(int stage) const {
    return cuda::shared_address(at) + static_cast<uint32_t>(stage * kTileBytes);
  }
  /// Per row a histogram, or the list of candidates, or the sample's extremes.
  __device__ __forceinline__ uint32_t* histogram(int row) const {
    return reinterpret_cast<uint32_t*>(at + kHistograms) + row * kMaxBins;
  }
  __device__ __forceinline__ uint64_t* candidates(int row) const {
    return reinterpret_cast<uint64_t*>(histogram(row));
  }
  __device__ __forceinline__ float* extremes(int row) const {
    return reinterpret_cast<float*>(histogram(row));
  }
  __device__ __forceinline__ float* list(int thread) const {
    return reinterpret_cast<float*>(at + kLists) + thread;
  }
  __device__ __forceinline__ RowBins& bins(int row) const {
    return reinterpret_cast<RowBins*>(at + kBins)[row];
  }
  __device__ __forceinline__ int2& span(int row) const {
    return reinterpret_cast<int2*>(at + kSpans)[row];
  }
  /// Of a row: scores above the interval; candidates collected; 1 if a score is NaN.
  __device__ __forceinline__ int& above(int row) const { return ints()[row]; }
  __device__ __forceinline__ int& collected(int row) const { return ints()[kRows + row]; }
  __device__ __forceinline__ int& nan(int row) const { return ints()[2 * kRows + row]; }
  __device__ __forceinline__ int& vote(int warp) const { return ints()[3 * kRows + warp]; }

  static constexpr int kHistograms = 2 * kTileBytes;
  static constexpr int kLists = kHistograms + kRows * kMaxBins * 4;
  static constexpr int kBins = kLists + kListed * kThreads * 4;
  static constexpr int kSpans = kBins + kRows * 16;
  static constexpr int kInts = kSpans + kRows * 8;
  static constexpr int kBytes = kInts + (3 * kRows + 4) * 4;

 private:
  __device__ __forceinline__ int* ints() const { return reinterpret_cast<int*>(at + kInts); }
};

template <int D, int M, bool Shared>
struct Block {
  const SelectArgs& args;
  Space<D, M> space;
  int begin;  // of the document
  int first;  // row of the warp
  int last;   // row of the block
  int set;    // query head, or KV head where sets are shared
  int warp;
  int lane;
  bool searching = false;  // a row of the warp is not done
  RowFragments<D, M> queries;

  static constexpr int kWarpRows = 16 * M;
  static constexpr int kSlots = 2 * M;  // rows a thread has scores of

  __device__ __forceinline__ Block(const SelectArgs& arguments, const Tile& tile, int which)
      : args(arguments),
        space{cuda::dynamic_shared()},
        begin(tile.begin),
        set(which),
        warp(static_cast<int>(threadIdx.x) / cuda::kWarp),
        lane(static_cast<int>(threadIdx.x) % cuda::kWarp) {
    const int rows = tile.end - tile.first;
    first = tile.first + warp * kWarpRows;
    last = tile.first + (rows < 4 * kWarpRows ? rows : 4 * kWarpRows) - 1;
  }

  /// Of lane `lane` as the owner of a search; the block's rows end at `last`.
  __device__ __forceinline__ int own_row() const { return first + lane; }
  __device__ __forceinline__ bool owns() const { return lane < kWarpRows && own_row() <= last; }
  __device__ __forceinline__ int kv_head() const { return Shared ? set : set / args.qkv.group(); }
  /// Of slot i, among the block's rows.
  __device__ __forceinline__ int slot_row(int i) const {
    return warp * kWarpRows + row_in_warp(lane, i / 2, 2 * (i % 2));
  }

  // Scores become -inf (NaN in the pass for extremes, which ignores NaN) where the key is not
  // visible, +inf where it is forced.
  template <Pass P>
  __device__ __forceinline__ void mask(float (&s)[M][kKeyGroups][4], int key, int step) const {
    const float hidden = P == Pass::Extremes ? std::numeric_limits<float>::quiet_NaN()
                                             : -std::numeric_limits<float>::infinity();
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int n = 0; n < kKeyGroups; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int j = key + step * column_in_tile(lane, n, c);
          const int row = first + row_in_warp(lane, m, c);
          s[m][n][c] = j <= row ? args.rule.rank(s[m][n][c], j, begin, row) : hidden;
        }
      }
    }
  }

  struct Gathered {
    int above[kSlots];
    float low[kSlots], high[kSlots], sum[kSlots];
  };

  __device__ __forceinline__ void note_extremes(const float (&s)[M][kKeyGroups][4],
                                                Gathered& g) const {
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
#pragma unroll
      for (int e = 0; e < kListed; ++e) {
        const float score = s[i / 2][e / 2][2 * (i % 2) + e % 2];
        g.low[i] = fminf(g.low[i], score);
        g.high[i] = fmaxf(g.high[i], score);
        g.sum[i] += score == score ? score : 0.0F;
      }
    }
  }

  __device__ __forceinline__ void count_value(float score, float base, int row, const RowBins& bins,
                                              int& above) const {
    if (score >= bins.hi) {
      ++above;
    } else if (score == score) {
      const int bin = value_bin(score, base, bins, args.tuning.bins);
      atomicAdd(space.histogram(row) + bin, 1U);
    } else {
      space.nan(row) = 1;
    }
  }
  __device__ __forceinline__ void take(float score, int key, float base, int row,
                                       const RowBins& bins, int& above) const {
    if (bins.phase() == Phase::Values || score != score) {
      count_value(score, base, row, bins, above);
      return;
    }
    const int2 span = space.span(row);
    if (bins.phase() == Phase::Done || key < span.x || key >= span.y) return;
    if (bins.phase() == Phase::Indices) {
      const int bin = index_bin(key, span.x, bins.shift(), args.tuning.bins);
      atomicAdd(space.histogram(row) + bin, 1U);
    } else {
      const int at = atomicAdd(&space.collected(row), 1);
      if (at < kMaxBins / 2) space.candidates(row)[at] = rank_key(score, key);
    }
  }

  // Counts the scores of rows in phase Values.
  __device__ __forceinline__ void count_scores(const float (&s)[M][kKeyGroups][4],
                                               const float (&lo)[kSlots], Gathered& g) const {
    float* const list = space.list(static_cast<int>(threadIdx.x));
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
      float* end = list;
#pragma unroll
      for (int e = 0; e < kListed; ++e) {
        const float score = s[i / 2][e / 2][2 * (i % 2) + e % 2];
        if (!(score < lo[i])) {  // also NaN
          *end = score;
          end += kThreads;
        }
      }
      if (end == list) continue;
      const int row = slot_row(i);
      const RowBins bins = space.bins(row);
      for (const float* at = list; at != end; at += kThreads) {
        count_value(*at, lo[i], row, bins, g.above[i]);
      }
    }
  }
  // The same for rows in any phase.
  __device__ __forceinline__ void take_scores(const float (&s)[M][kKeyGroups][4],
                                              const float (&lo)[kSlots], const float (&hi)[kSlots],
                                              int key, Gathered& g) const {
    float* const list = space.list(static_cast<int>(threadIdx.x));
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
      uint32_t taken = 0;
#pragma unroll
      for (int e = 0; e < kListed; ++e) {
        const float score = s[i / 2][e / 2][2 * (i % 2) + e % 2];
        if (!(score < lo[i]) && !(score >= hi[i])) taken |= 1U << e;
      }
      if (taken == 0) continue;
      float* end = list;
#pragma unroll
      for (int e = 0; e < kListed; ++e) {
        if ((taken >> e & 1U) != 0) {
          *end = s[i / 2][e / 2][2 * (i % 2) + e % 2];
          end += kThreads;
        }
      }
      const int row = slot_row(i);
      const RowBins bins = space.bins(row);
      for (const float* at = list; taken != 0; at += kThreads, taken &= taken - 1) {
        const int e = __ffs(static_cast<int>(taken)) - 1;
        take(*at, key + column_in_tile(lane, e / 2, e % 2), lo[i], row, bins, g.above[i]);
      }
    }
  }

  template <Pass P>
  __device__ __forceinline__ void visit_tile(uint32_t tile, int key, int step,
                                             const float (&lo)[kSlots], const float (&hi)[kSlots],
                                             Gathered& g) const {
    float s[M][kKeyGroups][4];
    if constexpr (Shared) {
      group_scores<D, M, kKeyGroups>(s, args.qkv, set, args.rule, first, last, tile, 0, lane);
    } else {
      score_tile<D>(s, queries, tile, 0, lane);
    }
    const int span = (kKeys - 1) * step + 1;
    if (key + span - 1 > first || args.rule.forces(key, span, begin, first)) {
      mask<P>(s, key, step);
    }
    if constexpr (P == Pass::Extremes) note_extremes(s, g);
    if constexpr (P == Pass::Histogram) count_scores(s, lo, g);
    if constexpr (P == Pass::General) take_scores(s, lo, hi, key, g);
  }

  // What the four threads of a row gathered, in shared memory.
  template <Pass P>
  __device__ __forceinline__ void publish(Gathered& g) const {
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
#pragma unroll
      for (int step = 1; step <= 2; step *= 2) {
        if constexpr (P == Pass::Extremes) {
          g.low[i] = fminf(g.low[i], __shfl_xor_sync(cuda::kAllLanes, g.low[i], step));
          g.high[i] = fmaxf(g.high[i], __shfl_xor_sync(cuda::kAllLanes, g.high[i], step));
          g.sum[i] += __shfl_xor_sync(cuda::kAllLanes, g.sum[i], step);
        } else {
          g.above[i] += __shfl_xor_sync(cuda::kAllLanes, g.above[i], step);
        }
      }
      if (lane % 4 != 0) continue;
      const int row = slot_row(i);
      if constexpr (P == Pass::Extremes) {
        float* at = space.extremes(row);
        at[0] = g.low[i];
        at[1] = g.high[i];
        at[2] = g.sum[i];
      } else {
        space.above(row) = g.above[i];
      }
    }
  }

  /// All threads of the block, over every `step`-th key; the warp's rows are published before.
  template <Pass P>
  __device__ __forceinline__ void run(int step) const {
    Gathered g;
    float lo[kSlots];
    float hi[kSlots];
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
      const RowBins bins = space.bins(slot_row(i));
      lo[i] = score_of(bins.lo);
      // Scores above the interval are counted where the row still looks for its interval.
      hi[i] = bins.phase() == Phase::Values ? std::numeric_limits<float>::quiet_NaN() : bins.hi;
      g.above[i] = 0;
      g.low[i] = std::numeric_limits<float>::infinity();
      g.high[i] = -std::numeric_limits<float>::infinity();
      g.sum[i] = 0;
    }
    const HeadRows all = args.qkv.keys(kv_head());
    const HeadRows keys = {all.row(begin), all.stride * step};
    const int count = (last - begin) / step + 1;
    const int tiles = (count + kKeys - 1) / kKeys;
    const auto thread = static_cast<int>(threadIdx.x);
    load_tile<D, kKeys, kThreads>(space.key_tile(0), keys, 0, count, thread);
    cuda::copy_async_commit();
    for (int t = 0; t < tiles; ++t) {
      cuda::copy_async_wait<0>();
      __syncthreads();  // the tile is there, and the one before it is no longer read
      if (t + 1 < tiles) {
        load_tile<D, kKeys, kThreads>(space.key_tile((t + 1) % 2), keys, kKeys * (t + 1), count,
                                      thread);
        cuda::copy_async_commit();
      }
      const int key = begin + kKeys * t * step;
      if (searching && key <= first + kWarpRows - 1) {
        visit_tile<P>(space.key_tile(t % 2), key, step, lo, hi, g);
      }
    }
    publish<P>(g);
    __syncthreads();  // the last tile is no longer read
  }
};

// Before a pass: lane r tells the warp what the pass needs to know of row r.
template <int D, int M, bool Shared>
__device__ __forceinline__ void prepare(const Block<D, M, Shared>& block, const RowSearch& search) {
  constexpr int kWarpRows = Block<D, M, Shared>::kWarpRows;
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
__device__ __forceinline__ void write(const Block<D, M, Shared>& block, float tau, int jcut) {
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
__device__ __forceinline__ void conclude(const Block<D, M, Shared>& block, RowSearch& search) {
  constexpr int kWarpRows = Block<D, M, Shared>::kWarpRows;
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
__device__ __forceinline__ void guess(const Block<D, M, Shared>& block, RowSearch& search,
                                      int step) {
  constexpr int kWarpRows = Block<D, M, Shared>::kWarpRows;
  const int base = block.warp * kWarpRows;
  const int bins = block.args.tuning.bins;
  const bool values = search.phase == Phase::Values;
  prepare(block, search);
  block.template run<Pass::Extremes>(step);
  const int visible = block.own_row() - block.begin + 1;
  const auto sampled = static_cast<float>((visible - 1) / step + 1);
  bool good = false;
  if (values) {
    const float* at = block.space.extremes(base + block.lane);
    const float mean = at[2] / sampled;
    const bool upper_half = int64_t{search.need} * kUpperHalfShare < visible && mean > at[0];
    good = search.bracket(upper_half ? mean : at[0], at[1], bins);
  }
  __syncwarp();
  prepare(block, search);
  block.template run<Pass::Histogram>(step);
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
  const float high =
      high_rank < 1 ? top + (top - low) : bottom + width * static_cast<float>(high_bin + 1);
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
__global__ void __launch_bounds__(kThreads, 2) select_kernel(const SelectArgs args) {
  using ThisBlock = Block<D, M, Shared>;
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
      block.template run<Pass::General>(1);
    } else {
      block.template run<Pass::Histogram>(1);
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
  constexpr size_t kBytes = Space<D, kGroups>::kBytes;
  cuda::allow_shared_memory(kernel, kBytes);
  cuda::launch(kernel, dim3(cuda::grid_size(blocks)), dim3(kThreads), kBytes, cuda::stream(ctx),
               args);
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
