#include "data/utf8.h"

#include "tests/support/catch.h"

using namespace pivot;

TEST_CASE("utf8 accepts every valid character and refuses what RFC 3629 excludes") {
  const auto encode = [](uint32_t c) {
    std::string s;
    const auto put = [&](uint32_t byte) { s.push_back(static_cast<char>(byte)); };
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    put(kLead[more] | (c >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) put(0x80 | ((c >> (6 * i)) & 63));
    return s;
  };
  int wrong = 0;
  for (uint32_t c = 0; c < 0x120000; ++c) {
    const bool valid = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
    const std::string s = encode(c);
    if ((find_invalid_utf8(s) == std::string::npos) != valid) ++wrong;
    if (valid && utf8_length(s, 0) != s.size()) ++wrong;
    if (valid && s.size() > 1 && incomplete_utf8_tail(s.substr(0, s.size() - 1)) != s.size() - 1) {
      ++wrong;
    }
  }
  CHECK(wrong == 0);
  CHECK(find_invalid_utf8("ab\xC0\x80") == 2);     // overlong
  CHECK(find_invalid_utf8("a\xE0\x80\x80") == 1);  // overlong
  CHECK(find_invalid_utf8("\xE2\x82") == 0);       // cut
  CHECK(find_invalid_utf8("\xC3\xA9\x80x") == 2);  // stray continuation
  CHECK(incomplete_utf8_tail("a\xE2\x82") == 2);
  CHECK(incomplete_utf8_tail("a\xE2\x28") == 0);
  CHECK(incomplete_utf8_tail("abc") == 0);
}

TEST_CASE("utf8 replacement takes maximal invalid parts") {
  size_t n = 0;
  CHECK(replace_invalid_utf8("a\xE2\x82z\xFF\xFEw", &n) ==
        "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBDw");
  CHECK(n == 3);
}
