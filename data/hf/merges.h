#pragma once
/// The merge rules of BPE (Sennrich et al., ACL 2016) and their application to one piece.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/hf/text.h"

namespace pivot::hf {

/// Pairs of ids to rank and result: a hash table with linear probing.
class MergeTable {
 public:
  struct Rule {
    uint32_t rank;
    int32_t id;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  explicit MergeTable(size_t count);
  /// A later rule for the same pair takes the place of the earlier.
  void set(int32_t left, int32_t right, Rule rule);
  /// rank == kNone where there is no rule.
  Rule find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t at = slot(key);; at = (at + 1) & mask_) {
      const Entry& e = entries_[at];
      if (e.key == key) return e.rule;
      if (e.key == kEmpty) return {kNone, -1};
    }
  }

 private:
  struct Entry {
    uint64_t key = kEmpty;
    Rule rule = {kNone, -1};
  };
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids are not negative
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot(uint64_t key) const { return (key * 0x9E3779B97F4A7C15ULL) >> shift_; }

  std::vector<Entry> entries_;
  size_t mask_;
  int shift_;
};

/// A run of the piece and the token it is so far.
struct Symbol {
  int32_t id;
  Range range;
};

/// Merges neighbours until no rule applies: always the rule of the lowest rank, the leftmost pair
/// first. Rules whose result is marked in `barred` do not exist. O(n log n) in the worst case.
void merge_symbols(const MergeTable& table, const std::vector<bool>& barred,
                   std::vector<Symbol>& symbols);

}  // namespace pivot::hf
