#include "data/chat/jinja/unicode.h"

#include <algorithm>

#include <utf8proc.h>

#include "data/chat/jinja/case_tables.h"

namespace pivot::chat::jinja {

char32_t decode_character(std::string_view text, size_t at, size_t* bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) {
    *bytes = 1;
    return first;
  }
  if (first < 0xE0) {
    *bytes = 2;
    return static_cast<char32_t>((first & 0x1F) << 6 | (byte(1) & 0x3F));
  }
  if (first < 0xF0) {
    *bytes = 3;
    return static_cast<char32_t>((first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F));
  }
  *bytes = 4;
  return static_cast<char32_t>((first & 0x07) << 18 | (byte(1) & 0x3F) << 12 |
                               (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F));
}

void append_character(std::string& text, char32_t c) {
  const auto add = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7F;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

int64_t count_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

size_t byte_offset(std::string_view text, int64_t index) {
  if (index <= 0) return 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && index-- == 0) return at;
  }
  return text.size();
}

void append_upper(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c));
    return;
  }
  const std::span<const CaseSpecial> specials = upper_specials();
  const auto special =
      std::lower_bound(specials.begin(), specials.end(), c,
                       [](const CaseSpecial& s, char32_t wanted) { return s.character < wanted; });
  if (special != specials.end() && special->character == c) {
    out += special->mapped;
  } else {
    append_character(out,
                     static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_lower(std::string& out, char32_t c) {
  constexpr char32_t kDottedCapitalI = 0x130;  // the only one whose lower case is two characters
  if (c == kDottedCapitalI) {
    out += "i\u0307";
  } else if (c < 0x80) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else {
    append_character(out,
                     static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

size_t leading_space(std::string_view text) {
  size_t at = 0;
  for (size_t bytes = 0; at < text.size(); at += bytes) {
    if (!is_space(decode_character(text, at, &bytes))) break;
  }
  return at;
}

size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t at = end - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    size_t bytes = 0;
    if (!is_space(decode_character(text, at, &bytes))) break;
    end = at;
  }
  return text.size() - end;
}

}  // namespace pivot::chat::jinja
