#include "kernels/attention/row_selector.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/attention/row_math.h"
#include "kernels/attention/vector.h"
#include "src/base/check.h"

namespace pivot::attention {
namespace {

constexpr int kLanes = vector::kNativeLanes;
constexpr int32_t kLowest = std::numeric_limits<int32_t>::min();
using IntVector __attribute__((vector_size(kLanes * 4))) = int32_t;
using IntMemory __attribute__((vector_size(kLanes * 4), aligned(4), may_alias)) = int32_t;

// Signed integers with the order of the scores; -0 as +0. The same function backwards.
int32_t rank_of(float score) {
  const auto bits = std::bit_cast<int32_t>(score + 0.0F);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}
float score_of(int32_t rank) {
  return std::bit_cast<float>(rank ^ ((rank >> 31) & 0x7FFFFFFF));
}

// The gate that lets exactly the scores above `rank` pass. Rank -1 is that of -0, which no score
// has but which as a float would hold back +0.
float gate_of(int32_t rank) {
  return score_of(rank == -1 ? -2 : rank);
}

int32_t lowest(const int32_t* ranks, int64_t count) {
  int32_t low = std::numeric_limits<int32_t>::max();
  for (int64_t i = 0; i < count; ++i) low = std::min(low, ranks[i]);
  return low;
}
int32_t highest(const int32_t* ranks, int64_t count) {
  int32_t high = kLowest;
  for (int64_t i = 0; i < count; ++i) high = std::max(high, ranks[i]);
  return high;
}
// Of a list padded with kLowest to whole vectors; padding is above nothing.
int64_t count_above(const int32_t* ranks, int64_t count, int32_t rank) {
  IntVector total = {};
  const IntVector bound = rank - IntVector{};
  for (int64_t i = 0; i < count; i += kLanes) {
    total -= *reinterpret_cast<const IntMemory*>(ranks + i) > bound;
  }
  int64_t above = 0;
  for (int l = 0; l < kLanes; ++l) above += total[l];
  return above;
}

int64_t scores_above(const float* scores, int64_t count, float gate) {
  IntVector total = {};
  const auto bound = vector::broadcast<kLanes>(gate);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) total -= vector::load<kLanes>(scores + i) > bound;
  int64_t above = 0;
  for (int l = 0; l < kLanes; ++l) above += total[l];
  for (; i < count; ++i) above += static_cast<int64_t>(scores[i] > gate);
  return above;
}

bool any_nan(const float* scores, int64_t count) {
  int32_t nans = 0;
  for (int64_t i = 0; i < count; ++i) nans |= static_cast<int32_t>(scores[i] != scores[i]);
  return nans != 0;
}

int32_t below(int32_t rank) {
  return rank == kLowest ? rank : rank - 1;
}

int32_t middle(int32_t low, int32_t high) {
  return static_cast<int32_t>(low + (int64_t{high} - low) / 2);
}

}  // namespace

float sample_gate(const float* scores, int64_t count, int64_t k) {
  constexpr int64_t kSample = 1024;
  constexpr int64_t kRun = 16;  // consecutive keys
  const auto expected = static_cast<double>(k) * kSample / static_cast<double>(count);
  // 2.5 standard deviations more than expected: a guess too high costs the row a second look.
  const auto target = static_cast<int64_t>(expected + 2.5 * std::sqrt(expected) + 2);
  if (count < 2 * kSample || target > kSample * 3 / 4)
    return std::numeric_limits<float>::quiet_NaN();
  int32_t ranks[kSample];
  const int64_t step = count / kSample * kRun;
  for (int64_t run = 0; run < kSample / kRun; ++run) {
    for (int64_t i = 0; i < kRun; ++i) ranks[run * kRun + i] = rank_of(scores[run * step + i]);
  }
  int32_t low = below(lowest(ranks, kSample));
  int32_t high = highest(ranks, kSample);
  for (int64_t above = kSample; above > target + target / 8 && high - int64_t{low} > 1;) {
    const int32_t trial = middle(low, high);
    const int64_t now = count_above(ranks, kSample, trial);
    if (now >= target) {
      low = trial;
      above = now;
    } else {
      high = trial;
    }
  }
  return gate_of(low);
}

void RowSelector::select_row(const float* scores, int64_t count) {
  nan_ = any_nan(scores, count);
  if (nan_) return;
  // At least k keys are above `low`, fewer above `high`.
  int32_t low = below(rank_of(-std::numeric_limits<float>::infinity()));
  int32_t high = rank_of(std::numeric_limits<float>::infinity());
  int64_t above = count;
  while (above != k_ && high - int64_t{low} > 1) {
    const int32_t trial = middle(low, high);
    const int64_t now = scores_above(scores, count, gate_of(trial));
    if (now >= k_) {
      low = trial;
      above = now;
    } else {
      high = trial;
    }
  }
  int64_t ties = above == k_ ? k_ : k_ - scores_above(scores, count, gate_of(high));
  alignas(64) uint8_t flags[kSelectorStep];
  for (int64_t first = 0; first < count; first += kSelectorStep) {
    const int64_t step = std::min(kSelectorStep, count - first);
    flag_above(flags, scores + first, step, gate_of(low));
    std::fill(flags + step, flags + kSelectorStep, uint8_t{0});
    for_flags(flags, kSelectorStep, [&](int64_t i) {
      const int32_t rank = rank_of(scores[first + i]);
      if (rank <= high && ties-- <= 0) return;
      list_.ranks[count_] = rank;
      list_.indices[count_++] = static_cast<int32_t>(first + i);
    });
  }
}

float RowSelector::score(int64_t i) const {
  return score_of(list_.ranks[i]);
}

void RowSelector::add(const float* scores, int64_t count, int64_t first_index) {
  if (count_ + kSelectorStep > list_.room) raise_gate();
  if (open_) {
    add_all(scores, count, first_index);
  } else {
    add_above_gate(scores, count, first_index);
  }
}

void RowSelector::add_all(const float* scores, int64_t count, int64_t first_index) {
  int32_t* ranks = list_.ranks + count_;
  int32_t* indices = list_.indices + count_;
  int32_t nans = 0;
  for (int64_t i = 0; i < count; ++i) {
    ranks[i] = rank_of(scores[i]);
    indices[i] = static_cast<int32_t>(first_index + i);
    nans |= static_cast<int32_t>(scores[i] != scores[i]);
  }
  nan_ |= nans != 0;
  count_ += count;
}

void RowSelector::add_above_gate(const float* scores, int64_t count, int64_t first_index) {
  // A NaN is flagged.
  alignas(64) uint8_t flags[kSelectorStep];
  flag_above(flags, scores, count, gate_);
  std::fill(flags + count, flags + kSelectorStep, uint8_t{0});
  int32_t* ranks = list_.ranks;
  int32_t* indices = list_.indices;
  int64_t at = count_;
  for_flags(flags, kSelectorStep, [&](int64_t i) {
    nan_ |= scores[i] != scores[i];
    ranks[at] = rank_of(scores[i]);
    indices[at++] = static_cast<int32_t>(first_index + i);
  });
  count_ = at;
}

// Whole vectors can then be counted; the room is a multiple of 16 beyond any count.
void RowSelector::pad() {
  const int64_t end = (count_ + kLanes - 1) / kLanes * kLanes;
  std::fill(list_.ranks + count_, list_.ranks + end, kLowest);
}

// Keeps what is above `rank` and the first `ties` equal to it.
void RowSelector::keep_above(int32_t rank, int64_t ties) {
  int32_t* ranks = list_.ranks;
  int32_t* indices = list_.indices;
  int64_t kept = 0;
  int64_t i = 0;
  for (; i < count_ && ties > 0; ++i) {
    const int32_t r = ranks[i];
    ties -= static_cast<int64_t>(r == rank);
    ranks[kept] = r;
    indices[kept] = indices[i];
    kept += static_cast<int64_t>(r >= rank);
  }
  for (; i < count_; ++i) {
    const int32_t r = ranks[i];
    ranks[kept] = r;
    indices[kept] = indices[i];
    kept += static_cast<int64_t>(r > rank);
  }
  count_ = kept;
}

void RowSelector::raise_gate() {
  if (count_ <= k_) return;
  pad();
  // At least k entries are above `low`, fewer above `high`.
  int32_t low = below(lowest(list_.ranks, count_));
  int32_t high = highest(list_.ranks, count_);
  int64_t above = count_;
  while (above > k_ + k_ / 4 && high - int64_t{low} > 1) {
    const int32_t trial = middle(low, high);
    const int64_t count = count_above(list_.ranks, count_, trial);
    if (count >= k_) {
      low = trial;
      above = count;
    } else {
      high = trial;
    }
  }
  if (above <= k_ + k_ / 4) {
    keep_above(low, 0);
    gate_ = gate_of(low);
  } else {
    // Ties: `high` is the k-th score. Keys to come have higher indices and lose at this very score.
    keep_above(high, k_ - count_above(list_.ranks, count_, high));
    gate_ = score_of(high);
  }
  open_ = false;
  proven_ = true;
}

int64_t RowSelector::finish() {
  PIVOT_CHECK(complete(), "{} keys beat a guessed gate, {} wanted", count_, k_);
  if (count_ > k_) {
    pad();
    int32_t low = below(lowest(list_.ranks, count_));
    int32_t high = highest(list_.ranks, count_);
    int64_t above = count_;
    while (above != k_ && high - int64_t{low} > 1) {
      const int32_t trial = middle(low, high);
      const int64_t now = count_above(list_.ranks, count_, trial);
      if (now >= k_) {
        low = trial;
        above = now;
      } else {
        high = trial;
      }
    }
    if (above == k_) {
      keep_above(low, 0);
    } else {
      keep_above(high, k_ - count_above(list_.ranks, count_, high));
    }
  }
  PIVOT_CHECK(count_ <= k_, "kept {} of {} keys", count_, k_);
  const int32_t last = lowest(list_.ranks, count_);
  last_score_ = score_of(last);
  last_index_ = 0;
  for (int64_t i = 0; i < count_; ++i) {
    if (list_.ranks[i] == last) last_index_ = std::max(last_index_, list_.indices[i]);
  }
  return count_;
}

}  // namespace pivot::attention
