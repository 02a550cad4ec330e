#include "kernels/attention/survivors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

#include "kernels/attention/row_math.h"
#include "src/base/check.h"

namespace pivot::attention {

void Survivors::add(const float* scores, int64_t count, int64_t first_index, uint8_t* flags) {
  if (count_ + kStripKeys > room_) cut();
  flag_above(flags, scores, count, gate_);
  for (int64_t i = count; i % 8 != 0; ++i) flags[i] = 0;
  // A flag is a byte of value 1: eight are looked at in one integer.
  uint64_t* end = keys_ + count_;
  for (int64_t group = 0; group < count; group += 8) {
    uint64_t bits = 0;
    std::memcpy(&bits, flags + group, 8);
    for (; bits != 0; bits &= bits - 1) {
      const int64_t i = group + std::countr_zero(bits) / 8;
      const float score = scores[i];
      nan_ |= score != score;
      *end++ = rank_key(score, static_cast<int32_t>(first_index + i));
    }
  }
  count_ = end - keys_;
}

void Survivors::cut() {
  if (count_ <= k_) return;
  std::copy(keys_, keys_ + count_, spare_);
  std::nth_element(spare_, spare_ + k_ - 1, spare_ + count_, std::greater<>());
  last_ = spare_[k_ - 1];
  int64_t kept = 0;
  for (int64_t i = 0; i < count_; ++i) {
    const uint64_t key = keys_[i];
    keys_[kept] = key;
    kept += static_cast<int64_t>(key >= last_);
  }
  PIVOT_CHECK(kept == k_, "kept {} of {} keys", kept, k_);
  count_ = kept;
  // Keys to come have higher indices: at this very score they rank behind those kept.
  gate_ = rank_score(last_);
}

int64_t Survivors::finish() {
  cut();
  last_ = *std::min_element(keys_, keys_ + count_);
  return count_;
}

}  // namespace pivot::attention
