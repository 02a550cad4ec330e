#pragma once
/// The keys of a row that can still be among its k best: the exact selection behind Top-k
/// attention.
///
/// Keys come in ascending order of index. A list of bounded room holds those that beat the gate, a
/// score that at least k keys seen beat. When the list is full the gate is raised, by counting
/// scores above trial values, and what no longer beats it is dropped. The room and the trials
/// decide how often that happens, never what is kept: finish() counts down to the exact k-th score.

#include <cstdint>

#include "kernels/attention/geometry.h"

namespace pivot::attention {

/// Keys that are added at once, at most.
inline constexpr int64_t kSelectorStep = 128;

/// A list of `room` entries; scores as integers of the same order (ranks).
struct SelectorRoom {
  int32_t* ranks;
  int32_t* indices;
  int64_t room;
};

/// Whether the whole row should be kept for select_row. At T = 8192, D = 64 the forward pass with k
/// = n / 4 took 1.5 times as long with lists; with k = n / 10 lists take no longer (November 2026).
constexpr bool prefers_whole_row(int64_t k, int64_t n) {
  return 8 * k > n;
}

/// Room for k kept of n keys: as much again as is kept before the gate is raised, and a strip.
constexpr int64_t selector_room(int64_t k, int64_t n) {
  const int64_t room = k + (k < kSelectorStep ? kSelectorStep : k);
  return ((room < n ? room : n) + kSelectorStep + 15) / 16 * 16;
}

/// A gate that about k of the `count` keys may be expected to beat, and somewhat more: from a
/// sample of the row's scores. NaN, which lets all pass, where a sample is of no use.
float sample_gate(const float* scores, int64_t count, int64_t k);

class RowSelector {
 public:
  /// With a guessed gate the result counts only if complete() once keys have been added.
  void begin(const SelectorRoom& list, int64_t k, float guessed_gate) {
    list_ = list;
    k_ = k;
    count_ = 0;
    gate_ = guessed_gate;
    open_ = guessed_gate != guessed_gate;
    proven_ = open_;
    nan_ = false;
  }

  /// Adds the keys first_index .. first_index + count, count <= kSelectorStep.
  void add(const float* scores, int64_t count, int64_t first_index);

  /// Instead of add(), for a row that is there as a whole: count >= k keys from index 0 on. Takes
  /// the k best by counting over all scores, which is faster than a list where k is a good part of
  /// them.
  void select_row(const float* scores, int64_t count);

  /// True unless the guess was too high: fewer than k keys beat it. Then all keys are to be added
  /// again, without a guess.
  bool complete() const { return proven_ || count_ >= k_; }

  /// Raises the gate if the list is longer than k by half: worth it where many keys are to come.
  void tighten() {
    if (count_ > k_ + k_ / 2) raise_gate();
  }

  /// True if a NaN was among the scores.
  bool nan() const { return nan_; }

  /// Leaves the min(k, seen) best, in ascending order of index; returns how many. Not for rows with
  /// a NaN.
  int64_t finish();

  int32_t index(int64_t i) const { return list_.indices[i]; }
  /// The score, -0 as +0.
  float score(int64_t i) const;
  /// After finish, of at least one key: the lowest score kept and the highest index that has it.
  float last_score() const { return last_score_; }
  int32_t last_index() const { return last_index_; }

 private:
  void add_all(const float* scores, int64_t count, int64_t first_index);
  void add_above_gate(const float* scores, int64_t count, int64_t first_index);
  void raise_gate();
  void keep_above(int32_t rank, int64_t ties);
  void pad();

  SelectorRoom list_ = {};
  int64_t k_ = 0;
  int64_t count_ = 0;
  float gate_ = 0;      // keys to come must beat it unless open
  bool open_ = true;    // no gate yet
  bool proven_ = true;  // at least k keys are known to beat the gate, or there is none
  bool nan_ = false;
  float last_score_ = 0;
  int32_t last_index_ = 0;
};

}  // namespace pivot::attention
