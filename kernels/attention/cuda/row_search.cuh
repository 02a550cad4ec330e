#pragma once
/// The search for one row's cut: what is known of it between two passes over the keys.
///
/// The cut lies in an interval [lo, hi) of scores, written as ordered_bits. `before` keys rank
/// before the interval; the cut is key number need - before of those in it. A pass
/// counts a histogram of the interval, and the bin with that key becomes the next interval. Where
/// one score is left that more keys share than can be sorted, the interval is one of indices
/// instead. Few candidates are collected with their index and sorted.

#include <bit>
#include <cstdint>

#include "kernels/attention/cuda/select.h"
#include "kernels/attention/order.h"
#include "kernels/cuda/reduce.cuh"

namespace pivot::attention {

inline constexpr uint32_t kLowest = ordered_bits(-std::numeric_limits<float>::infinity());
inline constexpr uint32_t kHighest = ordered_bits(std::numeric_limits<float>::infinity());
inline constexpr uint32_t kBeyond = kHighest + 1;   // of no score: a NaN, which nothing reaches
inline constexpr uint32_t kMinusZero = 0x7FFFFFFF;  // of no score: -0 has the bits of 0

/// The inverse of ordered_bits.
__device__ __forceinline__ float score_of(uint32_t ordered) {
  return rank_score(uint64_t{ordered} << 32);
}
/// Smallest shift with (width - 1) >> shift below `bins`.
__device__ __forceinline__ int shift_for(uint32_t width, int bins) {
  const int shift = 32 - __clz(width - 1) - (31 - __clz(bins));
  return width > 1 && shift > 0 ? shift : 0;
}

enum class Phase : int { Done, Values, Indices, Collect };

/// What a pass needs to know of a row, 16 bytes of shared memory.
struct alignas(16) RowBins {
  uint32_t lo;
  float hi;       // score_of(hi): NaN where nothing lies above
  float inverse;  // > 0: bins of equal width in score, this many per unit; else of bits
  int phase_shift;

  __device__ __forceinline__ Phase phase() const { return static_cast<Phase>(phase_shift & 3); }
  __device__ __forceinline__ int shift() const { return phase_shift >> 2; }
};

/// Bin of a score of the interval, which begins at `base` = score_of(lo). Not decreasing in the
/// score: that is all the search relies on.
__device__ __forceinline__ int value_bin(float score, float base, const RowBins& row, int bins) {
  if (row.inverse > 0) {
    const int bin = __float2int_rz((score - base) * row.inverse);
    return bin < 0 ? 0 : bin < bins ? bin : bins - 1;
  }
  return static_cast<int>((ordered_bits(score) - row.lo) >> row.shift());
}
/// Bin of an index: the lowest, which ranks first, in the highest bin.
__device__ __forceinline__ int index_bin(int key, int first, int shift, int bins) {
  return bins - 1 - ((key - first) >> shift);
}

/// The bin of a histogram that holds key number `target`, counted from the highest bin.
struct FoundBin {
  int bin;     // -1 if there are fewer keys
  int higher;  // keys in higher bins
  int inside;  // keys in the bin
};
inline constexpr int kMaxBins = 128;

/// By a whole warp; all lanes get the result.
__device__ __forceinline__ FoundBin find_bin(const uint32_t* histogram, int target, int lane) {
  const uint4 four = reinterpret_cast<const uint4*>(histogram)[lane];
  const int count[4] = {static_cast<int>(four.x), static_cast<int>(four.y),
                        static_cast<int>(four.z), static_cast<int>(four.w)};
  const int mine = count[0] + count[1] + count[2] + count[3];
  int from_here = mine;  // keys of this lane's bins and all higher ones
#pragma unroll
  for (int step = 1; step < cuda::kWarp; step *= 2) {
    const int other = __shfl_down_sync(cuda::kAllLanes, from_here, step);
    if (lane + step < cuda::kWarp) from_here += other;
  }
  const uint32_t reached = __ballot_sync(cuda::kAllLanes, from_here >= target);
  if (reached == 0) return {-1, 0, 0};
  const int owner = 31 - __clz(static_cast<int>(reached));
  FoundBin found = {-1, from_here - mine, 0};
  bool open = true;
#pragma unroll
  for (int i = 3; i >= 0; --i) {
    if (open && found.higher + count[i] >= target) {
      found.bin = 4 * lane + i;
      found.inside = count[i];
      open = false;
    }
    if (open) found.higher += count[i];
  }
  return {__shfl_sync(cuda::kAllLanes, found.bin, owner),
          __shfl_sync(cuda::kAllLanes, found.higher, owner),
          __shfl_sync(cuda::kAllLanes, found.inside, owner)};
}

/// The candidate that `before` others of the list rank before, by a whole warp. `list` holds
/// `count` different rank keys, at most 64.
__device__ __forceinline__ uint64_t pick(const uint64_t* list, int count, int before, int lane) {
  uint64_t picked = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = lane + half * cuda::kWarp;
    const uint64_t mine = at < count ? list[at] : 0;
    int rank = 0;
    for (int i = 0; i < count; ++i) rank += list[i] > mine ? 1 : 0;
    const uint32_t owner = __ballot_sync(cuda::kAllLanes, at < count && rank == before);
    if (owner != 0) {
      const int lane_of = __ffs(static_cast<int>(owner)) - 1;
      const uint32_t high =
          __shfl_sync(cuda::kAllLanes, static_cast<uint32_t>(mine >> 32), lane_of);
      const uint32_t low = __shfl_sync(cuda::kAllLanes, static_cast<uint32_t>(mine), lane_of);
      picked = uint64_t{high} << 32 | low;
    }
  }
  return picked;
}

/// A row's search; lane r of a warp has that of the warp's row r in registers.
struct RowSearch {
  Phase phase;
  int need;  // k
  uint32_t lo, hi;
  float inverse;  // as in RowBins
  int before;
  int first_key, end_key;  // indices of the interval's keys

  /// `k` of the keys [document, row] are kept; all are candidates.
  __device__ __forceinline__ void start(int document, int row, int k, const SelectTuning& tuning) {
    const int visible = row - document + 1;
    phase = k == visible                      ? Phase::Done
            : visible <= tuning.list_capacity ? Phase::Collect
                                              : Phase::Values;
    need = k;
    lo = kLowest;
    hi = kBeyond;
    inverse = 0;
    before = 0;
    first_key = document;
    end_key = row + 1;
  }

  __device__ __forceinline__ RowBins bins(const SelectTuning& tuning) const {
    if (phase == Phase::Done) {  // no finite score gets through
      return {kHighest, std::numeric_limits<float>::infinity(), 0, 0};
    }
    const int shift = phase == Phase::Indices
                          ? shift_for(static_cast<uint32_t>(end_key - first_key), tuning.bins)
                          : shift_for(hi - lo, tuning.bins);
    return {lo, score_of(hi), inverse, static_cast<int>(phase) | shift << 2};
  }

  /// Scores between `low` and `high`, both finite, in bins of equal width; false if there is no
  /// such interval.
  __device__ __forceinline__ bool bracket(float low, float high, int count) {
    const float per_unit = static_cast<float>(count) / (high - low);
    const bool good = low < high && per_unit > 0 &&
                      per_unit < std::numeric_limits<float>::infinity() &&
                      high < std::numeric_limits<float>::infinity() &&
                      low > -std::numeric_limits<float>::infinity();
    lo = good ? ordered_bits(low) : kLowest;
    hi = good ? ordered_bits(high) : kBeyond;
    inverse = good ? per_unit : 0;
    return good;
  }

  /// After a pass in phase Values: `above` keys have scores from hi on, and `found` is key number
  /// need - above of the interval.
  __device__ __forceinline__ void narrow_values(int above, const FoundBin& found,
                                                const SelectTuning& tuning) {
    if (above >= need) {  // the guess was too low
      lo = hi;
      hi = kBeyond;
      inverse = 0;
      return;
    }
    if (found.bin < 0) {  // too high
      hi = lo;
      lo = kLowest;
      inverse = 0;
      return;
    }
    const RowBins row_bins = bins(tuning);
    const uint32_t low = first_in_bin(found.bin, row_bins, tuning.bins);
    hi = first_in_bin(found.bin + 1, row_bins, tuning.bins);
    lo = low == kMinusZero ? low + 1 : low;  // else {-0, 0} would never become one score
    inverse = 0;
    before = above + found.higher;
    phase = found.inside <= tuning.list_capacity ? Phase::Collect
            : hi - lo == 1                       ? Phase::Indices
                                                 : Phase::Values;
  }
  /// After a pass in phase Indices; `found` is key number need - before.
  __device__ __forceinline__ void narrow_indices(const FoundBin& found,
                                                 const SelectTuning& tuning) {
    const int shift = bins(tuning).shift();
    first_key += (tuning.bins - 1 - found.bin) << shift;
    const int64_t end = int64_t{first_key} + (int64_t{1} << shift);
    end_key = end < end_key ? static_cast<int>(end) : end_key;
    before += found.higher;
    if (found.inside <= tuning.list_capacity) phase = Phase::Collect;
  }

 private:
  /// Lowest bits of the interval in bin `bin` or above, hi if there are none.
  __device__ __forceinline__ uint32_t first_in_bin(int bin, const RowBins& row_bins,
                                                   int count) const {
    const float base = score_of(lo);
    uint32_t low = lo;
    uint32_t high = hi;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (value_bin(score_of(middle), base, row_bins, count) >= bin) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
};

}  // namespace pivot::attention
