#include "data/chat/jinja/text.h"

#include <algorithm>

#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

// Characters one by one, each mapped text keeping the owner of its character.
template <class F>
Value map_characters(Heap& heap, const String& s, F&& map) {
  TextBuilder out;
  size_t bytes = 0;
  auto run = s.runs.begin();
  std::string mapped;
  for (size_t at = 0; at < s.text.size(); at += bytes) {
    const char32_t c = decode_character(s.text, at, &bytes);
    while (run != s.runs.end() && run->end <= at) ++run;
    mapped.clear();
    map(mapped, c, at);
    if (run == s.runs.end()) {
      out.append(mapped);
    } else {
      out.append(mapped, run->owner, run->block);
    }
  }
  if (s.text.empty()) return slice_bytes(heap, s, 0, 0);
  Value v = out.finish(heap);
  v.as<String>().markup = s.markup;
  return v;
}

// Unicode's "cased" property is not here, so rules that need it are refused beyond ASCII.
void require_ascii(const String& s, std::string_view what) {
  if (!is_ascii(s.text)) fail("{} is only done on ASCII text", what);
}

bool is_letter(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A final sigma becomes another letter in lower case, which depends on the words around it.
void append_lower_checked(std::string& out, char32_t c) {
  constexpr char32_t kSigma = 0x3A3;
  if (c == kSigma) fail("lower case of a Greek capital sigma depends on the word; it is not done");
  append_lower(out, c);
}

bool in_set(std::string_view characters, std::string_view c) {
  size_t bytes = 0;
  for (size_t at = 0; at < characters.size(); at += bytes) {
    decode_character(characters, at, &bytes);
    if (characters.substr(at, bytes) == c) return true;
  }
  return false;
}

size_t strip_left(std::string_view text, std::string_view characters) {
  size_t at = 0, bytes = 0;
  for (; at < text.size(); at += bytes) {
    decode_character(text, at, &bytes);
    if (!in_set(characters, text.substr(at, bytes))) break;
  }
  return at;
}

size_t strip_right(std::string_view text, size_t from, std::string_view characters) {
  size_t end = text.size();
  while (end > from) {
    size_t at = end - 1;
    while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!in_set(characters, text.substr(at, end - at))) break;
    end = at;
  }
  return end;
}

struct Part {
  size_t begin, end;
};

std::vector<Part> split_at(std::string_view text, std::string_view separator, int64_t at_most) {
  std::vector<Part> parts;
  size_t from = 0;
  while (at_most < 0 || static_cast<int64_t>(parts.size()) < at_most) {
    const size_t found = text.find(separator, from);
    if (found == std::string_view::npos) break;
    parts.push_back({from, found});
    from = found + separator.size();
  }
  parts.push_back({from, text.size()});
  return parts;
}

std::vector<Part> split_at_from_right(std::string_view text, std::string_view separator,
                                      int64_t at_most) {
  std::vector<Part> parts;
  size_t end = text.size();
  while (at_most < 0 || static_cast<int64_t>(parts.size()) < at_most) {
    if (end < separator.size()) break;
    const size_t found = text.rfind(separator, end - separator.size());
    if (found == std::string_view::npos) break;
    parts.push_back({found + separator.size(), end});
    end = found;
  }
  parts.push_back({0, end});
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Part> split_at_space(std::string_view text, int64_t at_most) {
  std::vector<Part> parts;
  size_t at = leading_space(text);
  while (at < text.size()) {
    if (at_most >= 0 && static_cast<int64_t>(parts.size()) == at_most) {
      parts.push_back({at, text.size() - trailing_space(text)});
      break;
    }
    size_t end = at, bytes = 0;
    for (; end < text.size(); end += bytes) {
      if (is_space(decode_character(text, end, &bytes))) break;
    }
    parts.push_back({at, end});
    at = end + leading_space(text.substr(end));
  }
  return parts;
}

Value parts_to_list(Heap& heap, const String& s, const std::vector<Part>& parts) {
  std::vector<Value> items;
  for (const Part& part : parts) items.push_back(slice_bytes(heap, s, part.begin, part.end));
  return heap.list(std::move(items));
}

// The owner of byte `at`, or of the text's end.
Run run_at(const String& s, size_t at) {
  for (const Run& run : s.runs) {
    if (run.end > at) return run;
  }
  return s.runs.empty() ? Run{} : s.runs.back();
}

void append_as(TextBuilder& out, const String& text, const Run& owner) {
  if (owner.owner == kTemplate) {
    out.append(text);
  } else {
    out.append(text.text, owner.owner, owner.block);
  }
}

}  // namespace

Value slice_bytes(Heap& heap, const String& s, size_t begin, size_t end) {
  TextBuilder out;
  out.append(s, begin, end);
  Value v = out.finish(heap);
  v.as<String>().markup = s.markup;
  return v;
}

Value strip(Heap& heap, const String& s, Side side, const std::string_view* characters) {
  const std::string_view text = s.text;
  heap.charge_text(text.size());
  size_t begin = 0, end = text.size();
  if (side != Side::Right) begin = characters ? strip_left(text, *characters) : leading_space(text);
  if (side != Side::Left) {
    end = characters ? strip_right(text, begin, *characters)
                     : std::max(begin, text.size() - trailing_space(text));
  }
  return slice_bytes(heap, s, begin, end);
}

Value split(Heap& heap, const String& s, const std::string_view* separator, int64_t at_most,
            Side from) {
  heap.charge_text(s.text.size());
  if (separator == nullptr) {
    if (from == Side::Right && at_most >= 0)
      fail("rsplit() at whitespace with a limit is not done");
    return parts_to_list(heap, s, split_at_space(s.text, at_most));
  }
  if (separator->empty()) fail("empty separator");
  return parts_to_list(heap, s,
                       from == Side::Right ? split_at_from_right(s.text, *separator, at_most)
                                           : split_at(s.text, *separator, at_most));
}

Value split_lines(Heap& heap, const String& s, bool keep_ends) {
  std::vector<Value> lines;
  const std::string_view text = s.text;
  size_t from = 0, bytes = 0;
  for (size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = decode_character(text, at, &bytes);
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                      c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    size_t next = at + bytes;
    if (c == '\r' && next < text.size() && text[next] == '\n') ++next;
    lines.push_back(slice_bytes(heap, s, from, keep_ends ? next : at));
    from = next;
    bytes = next - at;
  }
  if (from < text.size()) lines.push_back(slice_bytes(heap, s, from, text.size()));
  return heap.list(std::move(lines));
}

Value replace(Heap& heap, const String& s, std::string_view old, const String& with,
              int64_t count) {
  heap.charge_text(s.text.size());
  TextBuilder out;
  const std::string_view text = s.text;
  size_t from = 0;
  if (old.empty()) {  // Python: before every character and at the end
    for (size_t at = 0, bytes = 0; count != 0; at += bytes, --count) {
      out.append(s, from, at);
      append_as(out, with, run_at(s, at));
      heap.charge(1 + static_cast<int64_t>(s.runs.size()));
      from = at;
      if (at >= text.size()) break;
      decode_character(text, at, &bytes);
    }
  } else {
    for (; count != 0; --count) {
      const size_t found = text.find(old, from);
      if (found == std::string_view::npos) break;
      out.append(s, from, found);
      append_as(out, with, run_at(s, found));
      heap.charge(1 + static_cast<int64_t>(s.runs.size()) +
                  static_cast<int64_t>(with.text.size() / 8));
      from = found + old.size();
    }
  }
  out.append(s, from, text.size());
  return out.finish(heap);
}

Value join(Heap& heap, const String& separator, const std::vector<Value>& items) {
  TextBuilder out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(separator);
    out.append(string_of(items[i]));
    heap.charge_text(separator.text.size());
  }
  return out.finish(heap);
}

Value change_case(Heap& heap, const String& s, Case to) {
  if (to == Case::Swap) require_ascii(s, "swapcase()");
  return map_characters(heap, s, [to](std::string& out, char32_t c, size_t) {
    if (to == Case::Upper || (to == Case::Swap && c >= 'a' && c <= 'z')) {
      append_upper(out, c);
    } else {
      append_lower_checked(out, c);
    }
  });
}

Value capitalize(Heap& heap, const String& s) {
  if (!s.text.empty() && static_cast<unsigned char>(s.text[0]) >= 0x80) {
    fail("capitalize is only done on text that begins with an ASCII character");
  }
  return map_characters(heap, s, [](std::string& out, char32_t c, size_t at) {
    at == 0 ? append_upper(out, c) : append_lower_checked(out, c);
  });
}

Value title_method(Heap& heap, const String& s) {
  require_ascii(s, "title()");
  bool in_word = false;
  return map_characters(heap, s, [&in_word](std::string& out, char32_t c, size_t) {
    in_word ? append_lower(out, c) : append_upper(out, c);
    in_word = is_letter(c);
  });
}

Value title_filter(Heap& heap, const String& s) {
  bool begins = true;
  return map_characters(heap, s, [&begins](std::string& out, char32_t c, size_t) {
    begins ? append_upper(out, c) : append_lower_checked(out, c);
    begins = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  });
}

Value escape_html(Heap& heap, const String& s) {
  if (s.markup) return slice_bytes(heap, s, 0, s.text.size());
  Value v = map_characters(heap, s, [](std::string& out, char32_t c, size_t) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        append_character(out, c);
    }
  });
  v.as<String>().markup = true;
  return v;
}

}  // namespace pivot::chat::jinja
