#pragma once
/// The keys of a range that can still be among its k best.

#include <cstdint>
#include <limits>

#include "kernels/attention/order.h"
#include "kernels/decode_attention/decode_attention.h"

namespace pivot::decode {

/// Room of a list for k kept of n keys. Cutting costs a selection over the whole list: as much
/// again as three times k, within bounds, makes it rare (at k = 1 % of 32K keys two or three
/// times).
constexpr int64_t candidate_room(int64_t k, int64_t n) {
  const int64_t spare = k < 128 ? 512 : (k < 2048 ? 3 * k : 6144);
  const int64_t room = k + spare;
  return (room < n ? room : n) + kPageTokens;
}

/// Keeps `k` of [keys, keys + count), count > k > 0, in their order; returns the rank_key of the
/// last kept one. `spare` has room for count.
uint64_t keep_best(uint64_t* keys, int64_t count, int64_t k, uint64_t* spare);

/// Fed with pages in ascending order of index. Holds the rank_key of what beats the gate, the k-th
/// best score so far; a full list is cut to the k best and the gate rises. The room decides how
/// often that happens, never what is kept.
class CandidateList {
 public:
  /// `keys` and `spare` hold `room` entries each; `spare` may be shared by lists of one thread.
  CandidateList(uint64_t* keys, uint64_t* spare, int64_t room, int64_t k)
      : keys_(keys), spare_(spare), room_(room), k_(k) {}

  /// Scores of the keys first_index .. first_index + count, count <= kPageTokens. `scores` has room
  /// for kPageTokens; those from `count` on are ignored.
  void add(const float* scores, int64_t count, int64_t first_index);
  /// True if a NaN was among the scores.
  bool nan() const { return nan_; }
  /// Leaves the min(k, seen) best in ascending order of index; returns how many.
  int64_t finish();

 private:
  void cut();

  uint64_t* keys_;
  uint64_t* spare_;
  int64_t room_;
  int64_t k_;
  int64_t count_ = 0;
  float gate_ = std::numeric_limits<float>::quiet_NaN();  // NaN lets all pass
  bool nan_ = false;
};

}  // namespace pivot::decode
