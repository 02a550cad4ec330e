#include "data/hf/characters.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>

#include "data/hf/unicode_tables.h"

namespace pivot::hf {
namespace {

constexpr uint32_t kCodes = 0x110000;

bool in_ranges(std::span<const CharRange> ranges, uint32_t code) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), code,
                                      [](uint32_t c, const CharRange& r) { return c < r.first; });
  return after != ranges.begin() && code <= std::prev(after)->last;
}

struct ByteAlphabet {
  std::array<uint32_t, 256> chars = {};
  std::array<int16_t, 0x144> bytes = {};  // the last stand-in is U+0143
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet made = [] {
    ByteAlphabet a;
    a.bytes.fill(-1);
    uint32_t stand_in = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool prints = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
      a.chars[b] = prints ? b : stand_in++;
      a.bytes[a.chars[b]] = static_cast<int16_t>(b);
    }
    return a;
  }();
  return made;
}

}  // namespace

void append_char(std::string& text, uint32_t code) {
  const auto put = [&text](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

CharKinds::CharKinds() : blocks_(kCodes / 256) {
  std::vector<uint8_t> all(kCodes, static_cast<uint8_t>(CharKind::Other));
  const auto set = [&all](std::span<const CharRange> ranges, CharKind kind) {
    for (const CharRange& r : ranges) {
      std::fill(all.begin() + r.first, all.begin() + r.last + 1, static_cast<uint8_t>(kind));
    }
  };
  set(letter_ranges(), CharKind::Letter);
  set(number_ranges(), CharKind::Number);
  for (uint32_t c = 0; c <= 0x3000; ++c) {
    if (is_space(c)) all[c] = static_cast<uint8_t>(CharKind::Space);
  }
  all['\n'] = all['\r'] = static_cast<uint8_t>(CharKind::Newline);
  std::map<std::string_view, uint16_t> seen;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const std::string_view block(reinterpret_cast<const char*>(all.data()) + b * 256, 256);
    const auto [it, fresh] = seen.emplace(block, static_cast<uint16_t>(seen.size()));
    if (fresh) kinds_.insert(kinds_.end(), block.begin(), block.end());
    blocks_[b] = it->second;
  }
}

const CharKinds& CharKinds::get() {
  static const CharKinds made;
  return made;
}

bool is_space(uint32_t code) {
  return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}
bool is_word(uint32_t code) {
  return in_ranges(word_ranges(), code);
}
bool is_punctuation(uint32_t code) {
  return in_ranges(punctuation_ranges(), code);
}
bool is_number(uint32_t code) {
  return in_ranges(number_ranges(), code) || in_ranges(new_number_ranges(), code);
}
bool is_mark(uint32_t code) {
  return in_ranges(mark_ranges(), code);
}

uint32_t byte_to_char(uint8_t byte) {
  return alphabet().chars[byte];
}

int char_to_byte(uint32_t code) {
  return code < alphabet().bytes.size() ? alphabet().bytes[code] : -1;
}

std::string to_byte_level(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char b : bytes) append_char(text, byte_to_char(static_cast<uint8_t>(b)));
  return text;
}

bool append_from_byte_level(std::string_view text, std::string& bytes) {
  const size_t before = bytes.size();
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text.data() + at);
    const int byte = char_to_byte(c.code);
    if (byte < 0) {
      bytes.resize(before);
      return false;
    }
    bytes.push_back(static_cast<char>(byte));
    at += c.bytes;
  }
  return true;
}

}  // namespace pivot::hf
