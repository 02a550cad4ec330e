#pragma once
/// A block's pass over the keys in the search for the cuts (select.cu tells the whole).

#include "kernels/attention/cuda/ranking.cuh"
#include "kernels/attention/cuda/row_search.cuh"
#include "kernels/attention/cuda/tiles.h"
#include "kernels/cuda/launch.cuh"

namespace pivot::attention {

inline constexpr int kSelectThreads = 128;
inline constexpr int kSelectKeys = 64;  // of a tile
inline constexpr int kKeyGroups = kSelectKeys / 8;
inline constexpr int kListed = 2 * kKeyGroups;  // scores of one row a thread has

struct SelectArgs {
  QkvView qkv;
  const Tile* tiles;
  float* tau;
  int32_t* jcut;
  RankRule rule;
  Budget budget;
  SelectTuning tuning;
};

enum class SelectPass { Extremes, Histogram, General };

template <int D, int M>
struct SelectSpace {
  static constexpr int kRows = 64 * M;
  static constexpr int kTileBytes = tile_bytes<D>(kSelectKeys);

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
  static constexpr int kBins = kLists + kListed * kSelectThreads * 4;
  static constexpr int kSpans = kBins + kRows * 16;
  static constexpr int kInts = kSpans + kRows * 8;
  static constexpr int kBytes = kInts + (3 * kRows + 4) * 4;

 private:
  __device__ __forceinline__ int* ints() const { return reinterpret_cast<int*>(at + kInts); }
};

template <int D, int M, bool Shared>
struct SelectBlock {
  const SelectArgs& args;
  SelectSpace<D, M> space;
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

  __device__ __forceinline__ SelectBlock(const SelectArgs& arguments, const Tile& tile, int which)
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
  template <SelectPass P>
  __device__ __forceinline__ void mask(float (&s)[M][kKeyGroups][4], int key, int step) const {
    const float hidden = P == SelectPass::Extremes ? std::numeric_limits<float>::quiet_NaN()
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
          end += kSelectThreads;
        }
      }
      if (end == list) continue;
      const int row = slot_row(i);
      const RowBins bins = space.bins(row);
      for (const float* at = list; at != end; at += kSelectThreads) {
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
          end += kSelectThreads;
        }
      }
      const int row = slot_row(i);
      const RowBins bins = space.bins(row);
      for (const float* at = list; taken != 0; at += kSelectThreads, taken &= taken - 1) {
        const int e = __ffs(static_cast<int>(taken)) - 1;
        take(*at, key + column_in_tile(lane, e / 2, e % 2), lo[i], row, bins, g.above[i]);
      }
    }
  }

  template <SelectPass P>
  __device__ __forceinline__ void visit_tile(uint32_t tile, int key, int step,
                                             const float (&lo)[kSlots], const float (&hi)[kSlots],
                                             Gathered& g) const {
    float s[M][kKeyGroups][4];
    if constexpr (Shared) {
      group_scores<D, M, kKeyGroups>(s, args.qkv, set, args.rule, first, last, tile, 0, lane);
    } else {
      score_tile<D>(s, queries, tile, 0, lane);
    }
    const int span = (kSelectKeys - 1) * step + 1;
    if (key + span - 1 > first || args.rule.forces(key, span, begin, first)) {
      mask<P>(s, key, step);
    }
    if constexpr (P == SelectPass::Extremes) note_extremes(s, g);
    if constexpr (P == SelectPass::Histogram) count_scores(s, lo, g);
    if constexpr (P == SelectPass::General) take_scores(s, lo, hi, key, g);
  }

  // What the four threads of a row gathered, in shared memory.
  template <SelectPass P>
  __device__ __forceinline__ void publish(Gathered& g) const {
#pragma unroll
    for (int i = 0; i < kSlots; ++i) {
#pragma unroll
      for (int step = 1; step <= 2; step *= 2) {
        if constexpr (P == SelectPass::Extremes) {
          g.low[i] = fminf(g.low[i], __shfl_xor_sync(cuda::kAllLanes, g.low[i], step));
          g.high[i] = fmaxf(g.high[i], __shfl_xor_sync(cuda::kAllLanes, g.high[i], step));
          g.sum[i] += __shfl_xor_sync(cuda::kAllLanes, g.sum[i], step);
        } else {
          g.above[i] += __shfl_xor_sync(cuda::kAllLanes, g.above[i], step);
        }
      }
      if (lane % 4 != 0) continue;
      const int row = slot_row(i);
      if constexpr (P == SelectPass::Extremes) {
        float* at = space.extremes(row);
        at[0] = g.low[i];
        at[1] = g.high[i];
        at[2] = g.sum[i];
      } else {
        space.above(row) = g.above[i];
      }
    }
  }

  /// First key of a pass over every `step`-th one. A sample leaves out the document's first key,
  /// whose score is often far from all others (attention sinks).
  __device__ __forceinline__ int origin(int step) const {
    return begin + step / 2;
  }

  /// All threads of the block, over every `step`-th key; the warp's rows are published before.
  template <SelectPass P>
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
    const HeadRows keys = {all.row(origin(step)), all.stride * step};
    const int count = (last - origin(step)) / step + 1;
    const int tiles = (count + kSelectKeys - 1) / kSelectKeys;
    const auto thread = static_cast<int>(threadIdx.x);
    load_tile<D, kSelectKeys, kSelectThreads>(space.key_tile(0), keys, 0, count, thread);
    cuda::copy_async_commit();
    for (int t = 0; t < tiles; ++t) {
      cuda::copy_async_wait<0>();
      __syncthreads();  // the tile is there, and the one before it is no longer read
      if (t + 1 < tiles) {
        load_tile<D, kSelectKeys, kSelectThreads>(space.key_tile((t + 1) % 2), keys,
                                                  kSelectKeys * (t + 1), count, thread);
        cuda::copy_async_commit();
      }
      const int key = origin(step) + kSelectKeys * t * step;
      if (searching && key <= first + kWarpRows - 1) {
        visit_tile<P>(space.key_tile(t % 2), key, step, lo, hi, g);
      }
    }
    publish<P>(g);
    __syncthreads();  // the last tile is no longer read
  }
};

}  // namespace pivot::attention
