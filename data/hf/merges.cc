#include "data/hf/merges.h"

#include <algorithm>
#include <bit>
#include <queue>

namespace pivot::hf {
namespace {

// Below, looking through all pairs for the lowest rank beats keeping a heap (words of 5 to 20
// bytes; at 64 both take 3 us).
constexpr size_t kScanMost = 64;

using Rule = MergeTable::Rule;

bool is_barred(const std::vector<bool>& barred, int32_t id) {
  return !barred.empty() && barred[static_cast<size_t>(id)];
}

Rule find_rule(const MergeTable& table, const std::vector<bool>& barred, const Symbol& left,
               const Symbol& right) {
  const Rule rule = table.find(left.id, right.id);
  if (rule.rank != MergeTable::kNone && is_barred(barred, rule.id)) return {MergeTable::kNone, -1};
  return rule;
}

void merge_by_scan(const MergeTable& table, const std::vector<bool>& barred,
                   std::vector<Symbol>& s) {
  Rule rules[kScanMost];
  size_t n = s.size();
  for (size_t i = 0; i + 1 < n; ++i) rules[i] = find_rule(table, barred, s[i], s[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (rules[i].rank < rules[best].rank) best = i;
    }
    if (rules[best].rank == MergeTable::kNone) break;
    s[best].id = rules[best].id;
    s[best].range.end = s[best + 1].range.end;
    for (size_t i = best + 1; i + 1 < n; ++i) s[i] = s[i + 1];
    for (size_t i = best + 1; i + 2 < n; ++i) rules[i] = rules[i + 1];
    --n;
    if (best + 1 < n) rules[best] = find_rule(table, barred, s[best], s[best + 1]);
    if (best > 0) rules[best - 1] = find_rule(table, barred, s[best - 1], s[best]);
  }
  s.resize(n);
}

struct Candidate {
  uint32_t rank;
  uint32_t at;          // index of the left symbol
  int32_t left, right;  // their ids when this was found: it is stale once they changed
  friend bool operator>(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }
};

void merge_by_heap(const MergeTable& table, const std::vector<bool>& barred,
                   std::vector<Symbol>& s) {
  constexpr uint32_t kEnd = UINT32_MAX;
  const auto n = static_cast<uint32_t>(s.size());
  std::vector<uint32_t> next(n), previous(n);
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](uint32_t i) {
    const Rule rule = find_rule(table, barred, s[i], s[next[i]]);
    if (rule.rank != MergeTable::kNone) queue.push({rule.rank, i, s[i].id, s[next[i]].id});
  };
  for (uint32_t i = 0; i + 1 < n; ++i) consider(i);
  constexpr int32_t kGone = -1;
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    const uint32_t right = s[c.at].id == c.left ? next[c.at] : kEnd;
    if (right == kEnd || s[right].id != c.right) continue;
    s[c.at].id = table.find(c.left, c.right).id;
    s[c.at].range.end = s[right].range.end;
    s[right].id = kGone;
    next[c.at] = next[right];
    if (next[c.at] != kEnd) {
      previous[next[c.at]] = c.at;
      consider(c.at);
    }
    if (previous[c.at] != kEnd) consider(previous[c.at]);
  }
  std::erase_if(s, [](const Symbol& x) { return x.id == kGone; });
}

}  // namespace

MergeTable::MergeTable(size_t count) {
  const size_t size = std::bit_ceil(2 * count + 2);
  entries_.resize(size);
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
}

void MergeTable::set(int32_t left, int32_t right, Rule rule) {
  const uint64_t key = key_of(left, right);
  size_t at = slot(key);
  while (entries_[at].key != key && entries_[at].key != kEmpty) at = (at + 1) & mask_;
  entries_[at] = {key, rule};
}

void merge_symbols(const MergeTable& table, const std::vector<bool>& barred,
                   std::vector<Symbol>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kScanMost) {
    merge_by_scan(table, barred, symbols);
  } else {
    merge_by_heap(table, barred, symbols);
  }
}

}  // namespace pivot::hf
