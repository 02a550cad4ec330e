// str() and repr() of values, and their iteration.
#include <array>
#include <charconv>
#include <cmath>

#include "data/chat/jinja/unicode.h"
#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {
namespace {

void print_nested(const Value& value, TextBuilder& out, int depth);

// Stretches of `text` keep their owner: each character is printed as its stretch's.
template <class F>
void for_each_run(const String& text, F&& f) {
  if (text.runs.empty()) {
    f(std::string_view(text.text), kTemplate, 0);
    return;
  }
  size_t from = 0;
  for (const Run& run : text.runs) {
    f(std::string_view(text.text).substr(from, run.end - from), run.owner, run.block);
    from = run.end;
  }
}

std::string escaped(std::string_view text, char quote) {
  std::string out;
  size_t bytes = 0;
  for (size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = decode_character(text, at, &bytes);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out += text.substr(at, bytes);
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  return out;
}

void print_quoted(const String& text, TextBuilder& out) {
  const bool single = text.text.find('\'') != std::string::npos;
  const bool both = single && text.text.find('"') != std::string::npos;
  const char quote = single && !both ? '"' : '\'';
  if (text.markup) out.append("Markup(");
  const std::string_view mark(&quote, 1);
  out.append(mark);
  for_each_run(text, [&](std::string_view part, int32_t owner, int32_t block) {
    out.append(escaped(part, quote), owner, block);
  });
  out.append(mark);
  if (text.markup) out.append(")");
}

void print_items(const std::vector<Value>& items, TextBuilder& out, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ");
    print_nested(items[i], out, depth);
  }
}

void print_dict(const Dict& dict, TextBuilder& out, int depth) {
  out.append("{");
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.append(", ");
    print_nested(dict.entries[i].first, out, depth);
    out.append(": ");
    print_nested(dict.entries[i].second, out, depth);
  }
  out.append("}");
}

std::vector<Value> items_of(Heap& heap, const View& view) {
  std::vector<Value> items;
  for (const auto& [key, value] : view.dict->entries) {
    switch (view.what) {
      case View::Items:
        items.push_back(heap.tuple({key, value}));
        break;
      case View::Keys:
        items.push_back(key);
        break;
      case View::Values:
        items.push_back(value);
        break;
    }
  }
  return items;
}

void print_view(const View& view, TextBuilder& out, int depth) {
  static constexpr std::array<std::string_view, 3> kNames = {"dict_items([", "dict_keys([",
                                                             "dict_values(["};
  out.append(kNames[view.what]);
  bool first = true;
  for (const auto& [key, value] : view.dict->entries) {
    if (!first) out.append(", ");
    first = false;
    if (view.what == View::Items) out.append("(");
    if (view.what != View::Values) print_nested(key, out, depth);
    if (view.what == View::Items) out.append(", ");
    if (view.what != View::Keys) print_nested(value, out, depth);
    if (view.what == View::Items) out.append(")");
  }
  out.append("])");
}

void print_namespace(const Namespace& space, TextBuilder& out, int depth) {
  out.append("<Namespace {");
  for (size_t i = 0; i < space.attributes.size(); ++i) {
    if (i > 0) out.append(", ");
    String key;
    key.text = space.attributes[i].first;
    print_quoted(key, out);
    out.append(": ");
    print_nested(space.attributes[i].second, out, depth);
  }
  out.append("}>");
}

void print_nested(const Value& value, TextBuilder& out, int depth) {
  // Only namespaces can hold themselves.
  if (depth > 2 * kDeepest) fail("a value nested more than {} deep is printed", 2 * kDeepest);
  switch (value.kind) {
    case Kind::Undefined:
      out.append("Undefined");
      return;
    case Kind::None:
      out.append("None", value.owner);
      return;
    case Kind::Bool:
      out.append(value.boolean ? "True" : "False", value.owner);
      return;
    case Kind::Int:
      out.append(std::to_string(value.integer), value.owner);
      return;
    case Kind::BigInt:
      out.append(value.as<BigInt>().digits, value.owner);
      return;
    case Kind::Float:
      out.append(print_float(value.number), value.owner);
      return;
    case Kind::String:
      print_quoted(string_of(value), out);
      return;
    case Kind::List:
      out.append("[");
      print_items(value.as<List>().items, out, depth + 1);
      out.append("]");
      return;
    case Kind::Tuple:
      out.append("(");
      print_items(value.as<List>().items, out, depth + 1);
      out.append(value.as<List>().items.size() == 1 ? ",)" : ")");
      return;
    case Kind::Dict:
      print_dict(value.as<Dict>(), out, depth + 1);
      return;
    case Kind::View:
      print_view(value.as<View>(), out, depth + 1);
      return;
    case Kind::Range: {
      const Range& r = value.as<Range>();
      out.append(r.step == 1 ? fmt::format("range({}, {})", r.start, r.stop)
                             : fmt::format("range({}, {}, {})", r.start, r.stop, r.step));
      return;
    }
    case Kind::Namespace:
      print_namespace(value.as<Namespace>(), out, depth + 1);
      return;
    default:
      fail("a {} is printed, whose text in Python is an address in memory", type_name(value));
  }
}

}  // namespace

std::string print_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer = {};
  const auto shortest = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                      std::chars_format::scientific);
  const std::string_view text(buffer.data(), static_cast<size_t>(shortest.ptr - buffer.data()));
  const int exponent = std::atoi(std::string(text.substr(text.find('e') + 1)).c_str());
  // Python switches to exponents below 1e-4 and from 1e16 on, and writes at least two digits.
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string out(buffer.data(), static_cast<size_t>(fixed.ptr - buffer.data()));
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

void print(const Value& value, TextBuilder& out) {
  if (value.is(Kind::String)) {
    out.append(string_of(value));
  } else if (!value.is(Kind::Undefined)) {
    print_nested(value, out, 0);
  }
}

void print_repr(const Value& value, TextBuilder& out) {
  print_nested(value, out, 0);
}

Value to_string(Heap& heap, const Value& value) {
  if (value.is(Kind::String)) return value;
  TextBuilder out;
  print(value, out);
  return out.finish(heap);
}

std::vector<Value> iterate(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::Undefined:
      break;
    case Kind::List:
    case Kind::Tuple:
      items = value.as<List>().items;
      break;
    case Kind::Dict: {
      for (const auto& [key, v] : value.as<Dict>().entries) items.push_back(key);
      break;
    }
    case Kind::View:
      items = items_of(heap, value.as<View>());
      break;
    case Kind::Range: {
      const Range& r = value.as<Range>();
      for (int64_t i = 0, n = r.size(); i < n; ++i) items.push_back(integer(r.start + i * r.step));
      break;
    }
    case Kind::Generator: {
      Generator& g = value.as<Generator>();
      items.assign(g.items.begin() + static_cast<ptrdiff_t>(g.at), g.items.end());
      g.at = g.items.size();
      break;
    }
    case Kind::String: {
      const String& s = string_of(value);
      size_t bytes = 0;
      for (size_t at = 0; at < s.text.size(); at += bytes) {
        decode_character(s.text, at, &bytes);
        TextBuilder character;
        character.append(s, at, at + bytes);
        items.push_back(character.finish(heap));
      }
      break;
    }
    case Kind::Loop: {
      Value item;
      while (value.as<Loop>().next(item)) items.push_back(item);
      break;
    }
    default:
      fail("a {} cannot be iterated", type_name(value));
  }
  heap.charge(static_cast<int64_t>(items.size()) * 2);
  return items;
}

}  // namespace pivot::chat::jinja
