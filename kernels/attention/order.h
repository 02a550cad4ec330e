#pragma once
/// The total order by which keys are kept: score descending, then lower index first.

#include <bit>
#include <cstdint>
#include <limits>

#include "src/base/platform.h"

namespace pivot {

/// Forced keys (sink, recent) rank with this score.
inline constexpr float kForcedScore = std::numeric_limits<float>::infinity();

/// Key a ranks before key b. Scores are not NaN; -0 equals +0.
PIVOT_HD constexpr bool ranks_before(float score_a, int32_t index_a, float score_b,
                                     int32_t index_b) {
  return score_a > score_b || (score_a == score_b && index_a < index_b);
}

/// Membership in the kept set that a row's (tau, jcut) describes.
PIVOT_HD constexpr bool is_kept(float score, int32_t index, float tau, int32_t jcut) {
  return score > tau || (score == tau && index <= jcut);
}

/// True for the first `sink` keys of the document and the last `recent` visible ones.
PIVOT_HD constexpr bool is_forced(int32_t key, int32_t document_begin, int32_t query, int sink,
                                  int recent) {
  return key - document_begin < sink || query - key < recent;
}

/// Unsigned integer with the order of the score (larger is larger; -0 and +0 are equal): the digits
/// of a radix select.
PIVOT_HD constexpr uint32_t ordered_bits(float score) {
  const uint32_t u = std::bit_cast<uint32_t>(score == 0.0F ? 0.0F : score);
  return (u & 0x80000000U) != 0 ? ~u : u | 0x80000000U;
}

/// Score and index in one integer with the order of the keys: larger ranks first.
PIVOT_HD constexpr uint64_t rank_key(float score, int32_t index) {
  return (uint64_t{ordered_bits(score)} << 32) | ~static_cast<uint32_t>(index);
}
PIVOT_HD constexpr int32_t rank_index(uint64_t key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}
/// The score, -0 as +0.
PIVOT_HD constexpr float rank_score(uint64_t key) {
  const auto ordered = static_cast<uint32_t>(key >> 32);
  return std::bit_cast<float>((ordered & 0x80000000U) != 0 ? ordered & 0x7FFFFFFFU : ~ordered);
}

}  // namespace pivot
