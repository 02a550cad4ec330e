#include "data/hf/byte_trie.h"

#include <algorithm>
#include <numeric>

namespace pivot::hf {
namespace {

/// Keys [begin, end) of the sorted list share the first `depth` bytes and hang below `node`.
struct Work {
  uint32_t node;
  size_t begin, end, depth;
};

}  // namespace

ByteTrie::ByteTrie(const std::vector<std::string_view>& keys) {
  std::vector<int32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const int order_of_keys = keys[static_cast<size_t>(a)].compare(keys[static_cast<size_t>(b)]);
    return order_of_keys != 0 ? order_of_keys < 0 : a < b;
  });
  const auto key = [&](size_t i) { return keys[static_cast<size_t>(order[i])]; };
  nodes_.emplace_back();
  std::vector<Work> queue = {{0, 0, keys.size(), 0}};
  while (!queue.empty()) {
    Work w = queue.back();
    queue.pop_back();
    while (w.begin < w.end && key(w.begin).size() == w.depth) {
      if (w.depth > 0) nodes_[w.node].value = order[w.begin];
      ++w.begin;
    }
    nodes_[w.node].first = static_cast<uint32_t>(nodes_.size());
    for (size_t i = w.begin; i < w.end;) {
      const char byte = key(i)[w.depth];
      size_t j = i;
      while (j < w.end && key(j)[w.depth] == byte) ++j;
      queue.push_back({static_cast<uint32_t>(nodes_.size()), i, j, w.depth + 1});
      nodes_.push_back({0, -1, 0, static_cast<uint8_t>(byte)});
      ++nodes_[w.node].count;
      i = j;
    }
  }
  for (uint32_t i = 0; i < nodes_[0].count; ++i) {
    roots_[nodes_[nodes_[0].first + i].byte] = nodes_[0].first + i;
  }
}

}  // namespace pivot::hf
