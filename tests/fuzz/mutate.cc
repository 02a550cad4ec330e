#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <array>

#include "src/base/philox.h"

namespace pivot::fuzz {
namespace {

// Draws in order from one stream.
class Draws {
 public:
  explicit Draws(uint64_t index) : random_(index, Stream::Test, 17) {}
  uint64_t below(uint64_t n) { return random_.below(n, position_++); }

 private:
  Philox random_;
  uint64_t position_ = 0;
};

constexpr std::array<std::string_view, 12> kTokens = {"{",
                                                      "]",
                                                      "\"",
                                                      "null",
                                                      "-1",
                                                      "18446744073709551615",
                                                      "1e999",
                                                      "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                                      std::string_view("\0\0\0\0\0\0\0\0", 8),
                                                      "\xed\xa0\x80",
                                                      "\\u0000",
                                                      "%"};

void apply(std::string& text, Draws& draw) {
  const size_t at = draw.below(text.size() + 1);
  const size_t length = std::min<size_t>(1 + draw.below(16), text.size() - at);
  switch (draw.below(8)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << draw.below(8)));
      return;
    case 1:
      if (at < text.size()) text[at] = static_cast<char>(draw.below(256));
      return;
    case 2:
      text.erase(at, length);
      return;
    case 3:
      text.insert(at, text.substr(at, length));
      return;
    case 4:
      std::fill_n(text.begin() + static_cast<int64_t>(at), length, '\0');
      return;
    case 5:
      text.insert(at, kTokens[draw.below(kTokens.size())]);
      return;
    case 6: {
      const std::string_view token = kTokens[draw.below(kTokens.size())];
      text.replace(at, std::min(token.size(), text.size() - at), token);
      return;
    }
    default:
      text.resize(at);
  }
}

}  // namespace

std::string mutate(const std::string& input, uint64_t index) {
  Draws draw(index);
  std::string text = input;
  const uint64_t steps = 1 + draw.below(4);
  for (uint64_t i = 0; i < steps; ++i) apply(text, draw);
  return text;
}

}  // namespace pivot::fuzz
