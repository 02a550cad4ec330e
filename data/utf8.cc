#include "data/utf8.h"

#include <algorithm>
#include <cstdint>

namespace pivot {
namespace {

/// How far the bytes at `at` go towards one character.
struct Scan {
  size_t need = 0;   // bytes of the whole character, 0 if no character starts like this
  size_t valid = 0;  // leading bytes that fit
};

Scan scan_character(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, 1};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const size_t need = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;   // overlong
  if (lead == 0xED) high = 0x9F;  // surrogates
  if (lead == 0xF0) low = 0x90;   // overlong
  if (lead == 0xF4) high = 0x8F;  // above U+10FFFF
  size_t valid = 1;
  while (valid < need && at + valid < text.size() && byte(valid) >= low && byte(valid) <= high) {
    low = 0x80;
    high = 0xBF;
    ++valid;
  }
  return {need, valid};
}

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  const Scan scan = scan_character(text, at);
  return scan.need == scan.valid ? scan.need : 0;
}

size_t find_invalid_utf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const size_t length = utf8_length(text, at);
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

size_t invalid_utf8_length(std::string_view text, size_t at) {
  return std::max<size_t>(1, scan_character(text, at).valid);
}

size_t incomplete_utf8_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const Scan scan = scan_character(text, text.size() - back);
    if (scan.need > back && scan.valid == back) return back;
  }
  return 0;
}

std::string replace_invalid_utf8(std::string_view text, size_t* replaced) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t bad = find_invalid_utf8(text);
    out.append(text.substr(0, bad));
    if (bad == std::string_view::npos) break;
    out.append(kReplacementCharacter);
    ++*replaced;
    text.remove_prefix(bad + invalid_utf8_length(text, bad));
  }
  return out;
}

}  // namespace pivot
