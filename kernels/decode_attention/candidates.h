#pragma once
/// The keys that can still be among the k best of those seen so far.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "kernels/attention/order.h"

namespace pivot::decode {

/// One candidate in 64 bits whose order is the order of order.h: larger ranks first.
inline uint64_t pack_candidate(float score, int64_t index) {
  return (uint64_t{ordered_bits(score)} << 32) | ~static_cast<uint32_t>(index);
}
inline int32_t candidate_index(uint64_t packed) {
  return static_cast<int32_t>(~static_cast<uint32_t>(packed));
}
/// The score up to the sign of zero.
inline float candidate_score(uint64_t packed) {
  const auto ordered = static_cast<uint32_t>(packed >> 32);
  return std::bit_cast<float>((ordered & 0x80000000U) != 0 ? ordered & 0x7FFFFFFFU : ~ordered);
}

/// Moves the `k` first-ranking of [first, first + count) to the front, in no order.
inline void select_best(uint64_t* first, int64_t count, int64_t k) {
  if (k < count) std::nth_element(first, first + k - 1, first + count, std::greater<>());
}

/// Fed with the keys of a range in ascending order of index. `room` may be anything from
/// k + kStep on: it decides how often the list is cut, never what it keeps.
class CandidateList {
 public:
  static constexpr int64_t kStep = 16;

  CandidateList(uint64_t* storage, int64_t room, int64_t k) : keys_(storage), room_(room), k_(k) {}

  /// Scores of the keys first_index .. first_index + count; a NaN is left out.
  void add(const float* scores, int64_t count, int64_t first_index) {
    int64_t i = 0;
    for (; i + kStep <= count; i += kStep) {
      int any = 0;
      for (int64_t j = 0; j < kStep; ++j) any |= static_cast<int>(scores[i + j] >= gate_);
      if (any != 0) add_step(scores + i, kStep, first_index + i);
    }
    if (i < count) add_step(scores + i, count - i, first_index + i);
  }

  /// Leaves at most k; returns how many.
  int64_t finish() {
    cut();
    return count_;
  }

 private:
  void add_step(const float* scores, int64_t count, int64_t first_index) {
    if (count_ + kStep > room_) cut();
    for (int64_t j = 0; j < count; ++j) {
      keys_[count_] = pack_candidate(scores[j], first_index + j);
      count_ += static_cast<int64_t>(scores[j] >= gate_);
    }
  }

  void cut() {
    if (count_ < k_) return;
    select_best(keys_, count_, k_);
    count_ = k_;
    // Keys still to come have higher indices: at this very score they rank behind the k kept.
    gate_ = std::nextafter(candidate_score(keys_[k_ - 1]), std::numeric_limits<float>::infinity());
  }

  uint64_t* keys_;
  int64_t room_;
  int64_t k_;
  int64_t count_ = 0;
  float gate_ = -std::numeric_limits<float>::infinity();
};

}  // namespace pivot::decode
