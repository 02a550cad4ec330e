#pragma once
/// Which keys a query attends to, and the text form of that choice: one grammar everywhere
/// (configuration, command line, checkpoints, results).
///
///   dense
///   topk:1%                      k = ceil(1 % of the visible keys), at least 16
///   topk:k=64                    fixed k
///   topk:2%,min=8,max=4096,sink=4,recent=64,group=max
/// docs/semantics.md defines every word of it.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/rational.h"

namespace pivot {

/// Who shares a set: each query head on its own, or the heads of a KV group by their max or sum.
enum class SelectionGroup : uint8_t { Head, Max, Sum };

struct AttentionPolicy {
  enum class Kind : uint8_t { Dense, TopK };

  static constexpr int64_t kDefaultMin = 16;
  static constexpr int64_t kNoMax = std::numeric_limits<int32_t>::max();

  Kind kind = Kind::Dense;
  Rational ratio = {0, 1};  // share of the visible keys; {0, 1} where k_fixed rules
  int64_t k_fixed = 0;      // > 0: this many keys, whatever the length
  int64_t k_min = kDefaultMin;
  int64_t k_max = kNoMax;
  int sink = 0;    // the first keys of the document, always kept, counted inside k
  int recent = 0;  // the last visible keys, always kept, counted inside k
  SelectionGroup group = SelectionGroup::Head;

  bool dense() const { return kind == Kind::Dense; }
  friend bool operator==(const AttentionPolicy&, const AttentionPolicy&) = default;
};

/// Throws UserError that quotes the part it does not understand; ratio must be in (0, 100 %].
AttentionPolicy parse_policy(std::string_view spec);
/// Canonical text; parses back equal.
std::string to_string(const AttentionPolicy& policy);

/// One policy per layer: "topk:1%" for all, or rules in order, the last matching one wins:
/// "*:topk:1%;0-1:dense;-1:dense" (negative layers count from the end).
std::vector<AttentionPolicy> parse_layer_policies(std::string_view spec, int layers);
/// Shortest text that gives these policies back for this number of layers.
std::string to_string(const std::vector<AttentionPolicy>& layers);

}  // namespace pivot
