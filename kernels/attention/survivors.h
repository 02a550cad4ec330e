#pragma once
/// The keys of a row that can still be among its k best: the exact selection behind Top-k
/// attention.
///
/// Keys come in ascending order of index. A list of bounded room holds those that beat the gate,
/// the k-th best so far; when it is full it is cut to the k best and the gate rises. The room
/// decides how often that happens, never what is kept.

#include <cstdint>
#include <limits>

#include "kernels/attention/order.h"

namespace pivot::attention {

/// Keys a strip may add to a row at once, hence the least room beyond k.
inline constexpr int64_t kStripKeys = 128;

/// Room of a row's list for k kept of n keys.
constexpr int64_t survivor_room(int64_t k, int64_t n) {
  // Cutting costs a selection over the whole list: 3 k and 512 spare entries make that rare.
  const int64_t spare = k < 128 ? 512 : (k < 2048 ? 3 * k : 6144);
  const int64_t room = k + spare;
  return (room < n ? room : n) + kStripKeys;
}

class Survivors {
 public:
  /// `keys` and `spare` hold `room` entries each; `spare` may be shared by rows.
  void begin(uint64_t* keys, uint64_t* spare, int64_t room, int64_t k) {
    keys_ = keys;
    spare_ = spare;
    room_ = room;
    k_ = k;
    count_ = 0;
    nan_ = false;
    gate_ = std::numeric_limits<float>::quiet_NaN();
  }

  /// Adds the keys first_index .. first_index + count, count <= kStripKeys. `flags` is room for
  /// kStripKeys bytes.
  void add(const float* scores, int64_t count, int64_t first_index, uint8_t* flags);

  /// True if a NaN was among the scores.
  bool nan() const { return nan_; }

  /// Leaves the min(k, seen) best, in ascending order of index; returns how many.
  int64_t finish();

  const uint64_t* keys() const { return keys_; }
  /// After finish: the rank_key of the last kept key.
  uint64_t last() const { return last_; }

 private:
  void cut();

  uint64_t* keys_ = nullptr;
  uint64_t* spare_ = nullptr;
  int64_t room_ = 0;
  int64_t k_ = 0;
  int64_t count_ = 0;
  uint64_t last_ = 0;
  float gate_ = 0;  // keys to come must beat it; NaN lets all pass
  bool nan_ = false;
};

}  // namespace pivot::attention
