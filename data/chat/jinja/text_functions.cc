#include "data/chat/jinja/text_functions.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\v\f\x1c\x1d\x1e\x1f";

// White space as Python's str.strip() sees it: bytes of it at the position, 0 for anything else.
size_t space_at(const std::string& s, size_t at) {
  if (kSpaces.find(s[at]) != std::string_view::npos) return 1;
  static constexpr std::string_view kWide[] = {
      "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
      "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
      "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
      "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
  for (const std::string_view w : kWide) {
    if (s.compare(at, w.size(), w) == 0) return w.size();
  }
  return 0;
}

}  // namespace

const Text& text_of(const Value& v, std::string_view what) {
  if (const Text* t = v.as_text()) return *t;
  throw TypeError{fmt::format("{} needs a str, not {}", what, v.type_name())};
}

Text strip(const Text& t, const Value* characters, int sides) {
  const std::vector<size_t> at = character_offsets(t.bytes);
  size_t first = 0, last = at.size() - 1;
  const bool given = characters != nullptr && !characters->is_none();
  const std::string set = given ? text_of(*characters, "strip").bytes : "";
  const std::vector<size_t> in_set = character_offsets(set);
  const auto goes = [&](size_t i) {
    if (!given) return space_at(t.bytes, at[i]) == at[i + 1] - at[i];
    const std::string_view c(t.bytes.data() + at[i], at[i + 1] - at[i]);
    for (size_t k = 0; k + 1 < in_set.size(); ++k) {
      if (std::string_view(set).substr(in_set[k], in_set[k + 1] - in_set[k]) == c) return true;
    }
    return false;
  };
  while ((sides & kLeft) != 0 && first < last && goes(first)) ++first;
  while ((sides & kRight) != 0 && last > first && goes(last - 1)) --last;
  return t.part(at[first], at[last]);
}

List split_spaces(const Text& t) {
  List out;
  size_t begin = 0;
  bool word = false;
  for (size_t i = 0; i < t.bytes.size();) {
    const size_t space = space_at(t.bytes, i);
    if (space > 0) {
      if (word) out.push_back(Value::text(t.part(begin, i)));
      word = false;
      i += space;
    } else {
      if (!word) begin = i;
      word = true;
      ++i;
    }
  }
  if (word) out.push_back(Value::text(t.part(begin, t.bytes.size())));
  return out;
}

List split(const Text& t, const std::string& separator, int64_t most) {
  if (separator.empty()) throw TypeError{"split: empty separator"};
  List out;
  size_t begin = 0;
  for (;;) {
    const size_t at = most >= 0 && static_cast<int64_t>(out.size()) >= most
                          ? std::string::npos
                          : t.bytes.find(separator, begin);
    if (at == std::string::npos) break;
    out.push_back(Value::text(t.part(begin, at)));
    begin = at + separator.size();
  }
  out.push_back(Value::text(t.part(begin, t.bytes.size())));
  return out;
}

List split_right(const Text& t, const std::string& separator, int64_t most) {
  if (most < 0) return split(t, separator, -1);
  if (separator.empty()) throw TypeError{"rsplit: empty separator"};
  List out;
  size_t end = t.bytes.size();
  while (static_cast<int64_t>(out.size()) < most && end >= separator.size()) {
    const size_t at = t.bytes.rfind(separator, end - separator.size());
    if (at == std::string::npos) break;
    out.push_back(Value::text(t.part(at + separator.size(), end)));
    end = at;
  }
  out.push_back(Value::text(t.part(0, end)));
  std::reverse(out.begin(), out.end());
  return out;
}

Text replace(const Text& t, const Text& from, const Text& to, int64_t most) {
  Text out;
  size_t begin = 0;
  int64_t done = 0;
  if (from.bytes.empty()) throw TypeError{"replace of an empty text is not supported"};
  for (;;) {
    const size_t at =
        most >= 0 && done >= most ? std::string::npos : t.bytes.find(from.bytes, begin);
    if (at == std::string::npos) break;
    out.append(t.part(begin, at));
    out.append(to);
    begin = at + from.bytes.size();
    ++done;
  }
  out.append(t.part(begin, t.bytes.size()));
  return out;
}

// ASCII alone: what chat templates do to role names.
Text with_case(const Text& t, Case to) {
  std::string out = t.bytes;
  bool inside = false;
  for (size_t i = 0; i < out.size(); ++i) {
    char& c = out[i];
    if (static_cast<uint8_t>(c) >= 0x80)
      throw TypeError{"upper and lower case of non-ASCII text is not supported"};
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool upper =
        to == Case::Upper || (to == Case::Title && !inside) || (to == Case::Capitalize && i == 0);
    if (letter) c = static_cast<char>(upper ? c & ~0x20 : c | 0x20);
    inside = letter;
  }
  return t.changed(std::move(out));
}

}  // namespace pivot::chat::jinja
