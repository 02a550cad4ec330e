#include "kernels/decode_attention/candidates.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>

namespace pivot::decode {

uint64_t keep_best(uint64_t* keys, int64_t count, int64_t k, uint64_t* spare) {
  std::copy(keys, keys + count, spare);
  std::nth_element(spare, spare + k - 1, spare + count, std::greater<>());
  const uint64_t last = spare[k - 1];
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t key = keys[i];
    keys[kept] = key;
    kept += static_cast<int64_t>(key >= last);
  }
  PIVOT_CHECK(kept == k, "kept {} of {} keys", kept, k);
  return last;
}

void CandidateList::add(const float* scores, int64_t count, int64_t first_index) {
  if (count_ + kPageTokens > room_) cut();
  uint8_t flags[kPageTokens];
  // Written so that a NaN passes, and everything passes a NaN gate.
#pragma omp simd
  for (int64_t i = 0; i < kPageTokens; ++i) flags[i] = !(scores[i] <= gate_) ? 1 : 0;
  std::fill(flags + count, flags + kPageTokens, uint8_t{0});
  for (int64_t group = 0; group < kPageTokens; group += 8) {
    uint64_t bits = 0;
    std::memcpy(&bits, flags + group, sizeof(bits));
    for (; bits != 0; bits &= bits - 1) {
      const int64_t i = group + std::countr_zero(bits) / 8;
      nan_ = nan_ || scores[i] != scores[i];
      keys_[count_++] = rank_key(scores[i], static_cast<int32_t>(first_index + i));
    }
  }
}

void CandidateList::cut() {
  if (count_ <= k_) return;
  // Keys to come have higher indices: at the gate's very score they rank behind those kept.
  gate_ = rank_score(keep_best(keys_, count_, k_, spare_));
  count_ = k_;
}

int64_t CandidateList::finish() {
  cut();
  return count_;
}

}  // namespace pivot::decode
