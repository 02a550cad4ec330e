#pragma once
/// Text that remembers which of its bytes are the content of which message.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::chat::jinja {

/// Bytes [begin, end) are content of message `message`.
struct Origin {
  size_t begin = 0;
  size_t end = 0;
  int message = -1;
};

struct Text {
  std::string bytes;
  std::vector<Origin> origins;  // ascending, disjoint
  /// Content of this message is in the bytes, nobody knows where any more; -1 where that has not
  /// happened.
  int lost = -1;

  Text() = default;
  Text(std::string b) : bytes(std::move(b)) {}  // NOLINT: text is text
  static Text of_message(std::string bytes, int message);

  void append(const Text& other);
  Text part(size_t begin, size_t end) const;
  /// Other bytes made from this text (upper case, JSON): all of them are of its message, if it is
  /// all of one; else where the content is is lost.
  Text changed(std::string bytes) const;
};

}  // namespace pivot::chat::jinja
