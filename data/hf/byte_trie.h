#pragma once
/// A set of byte strings that tells which of them begin a text.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace pivot::hf {

class ByteTrie {
 public:
  ByteTrie() : ByteTrie(std::vector<std::string_view>()) {}
  /// The value of a key is its index, the last of equal ones; empty keys are never found.
  explicit ByteTrie(const std::vector<std::string_view>& keys);

  /// Calls found(length, value) for every key that begins `text`, the shortest first.
  template <class Found>
  void prefixes(std::string_view text, const Found& found) const {
    uint32_t node = 0;
    for (uint32_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<uint8_t>(text[i]);
      node = i == 0 ? roots_[byte] : child(node, byte);
      if (node == 0) return;
      if (nodes_[node].value >= 0) found(i + 1, nodes_[node].value);
    }
  }
  bool begins_any(char c) const { return roots_[static_cast<uint8_t>(c)] != 0; }

 private:
  /// The children of a node lie side by side, ordered by byte.
  struct Node {
    uint32_t first = 0;
    int32_t value = -1;
    uint16_t count = 0;
    uint8_t byte = 0;
  };
  uint32_t child(uint32_t node, uint8_t byte) const {
    const Node& n = nodes_[node];
    uint32_t low = n.first, high = n.first + n.count;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (nodes_[middle].byte < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < n.first + n.count && nodes_[low].byte == byte ? low : 0;
  }

  std::vector<Node> nodes_;
  std::array<uint32_t, 256> roots_ = {};  // the children of the first node, by byte
};

}  // namespace pivot::hf
