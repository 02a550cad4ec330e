// "%s" % value and "{}".format(value).
#include <array>
#include <cstdio>

#include "data/chat/jinja/text.h"

namespace pivot::chat::jinja {
namespace {

constexpr int64_t kWidest = 1000;  // of padding; wider is no chat template's need

struct Conversion {
  std::string flags;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
  size_t end = 0;  // byte after it
};

int64_t parse_count(std::string_view text, size_t& at) {
  int64_t n = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    n = n * 10 + (text[at++] - '0');
    if (n > kWidest) fail("a format asks for more than {} characters", kWidest);
  }
  return n;
}

Conversion parse_conversion(std::string_view format, size_t at) {
  Conversion c;
  while (at < format.size() && std::string_view("-+ 0#").find(format[at]) != std::string::npos) {
    c.flags += format[at++];
    if (c.flags.size() > 5) fail("too many flags in a format");
  }
  c.width = parse_count(format, at);
  if (at < format.size() && format[at] == '.') c.precision = parse_count(format, ++at);
  if (at == format.size()) fail("incomplete format");
  c.type = format[at];
  c.end = at + 1;
  return c;
}

int64_t whole_number(const Value& v, char type) {
  if (v.is(Kind::Int)) return v.integer;
  if (v.is(Kind::Bool)) return v.boolean ? 1 : 0;
  if (v.is(Kind::Float) && type != 'x' && v.number > -9e18 && v.number < 9e18) {
    return static_cast<int64_t>(v.number);
  }
  fail("%{} format: a number is required, not {}", type, type_name(v));
}

std::string print_number(const Conversion& c, const Value& v) {
  std::array<char, 2048> buffer = {};
  std::string spec = "%" + c.flags + std::to_string(c.width);
  if (c.precision >= 0) spec += "." + std::to_string(c.precision);
  int n = 0;
  if (c.type == 'f' || c.type == 'e' || c.type == 'g') {
    if (!is_number(v)) fail("must be real number, not {}", type_name(v));
    spec += c.type;
    n = std::snprintf(buffer.data(), buffer.size(), spec.c_str(), to_double(v));
  } else {
    spec += c.type == 'x' ? "llx" : "lld";
    const auto whole = static_cast<long long>(whole_number(v, c.type));
    if (c.type == 'x' && whole < 0) fail("%x of a negative number is not done");
    n = std::snprintf(buffer.data(), buffer.size(), spec.c_str(), whole);
  }
  return {buffer.data(), static_cast<size_t>(std::max(0, n))};
}

void append_text(Heap& heap, const Conversion& c, const Value& v, TextBuilder& out) {
  TextBuilder text;
  c.type == 'r' ? print_repr(v, text) : print(v, text);
  if (c.precision >= 0) fail("a precision for %{} is not done", c.type);
  const Value printed = text.finish(heap);
  const int64_t pad = c.width - length(printed);
  const std::string spaces(static_cast<size_t>(std::max<int64_t>(0, pad)), ' ');
  const bool left = c.flags.find('-') != std::string::npos;
  if (!left) out.append(spaces);
  out.append(string_of(printed));
  if (left) out.append(spaces);
}

const Value& field(const Args& args, std::string_view name, size_t& next) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) {
    size_t at = 0;
    const size_t index = name.empty() ? next++ : static_cast<size_t>(parse_count(name, at));
    if (at != name.size() || index >= args.positional.size()) {
      fail("format(): no argument for {{{}}}", name);
    }
    return args.positional[index];
  }
  for (const auto& [key, value] : args.named) {
    if (key == name) return value;
  }
  fail("format(): no argument for {{{}}} (only plain fields are understood)", name);
}

}  // namespace

Value format_percent(Heap& heap, const String& format, const Value& values) {
  if (format.markup) fail("% on text marked safe is not done");
  const bool many = values.is(Kind::Tuple);
  const std::vector<Value> list = many ? values.as<List>().items : std::vector<Value>{values};
  TextBuilder out;
  size_t from = 0, next = 0;
  const std::string_view text = format.text;
  for (size_t at = text.find('%'); at != std::string_view::npos; at = text.find('%', from)) {
    out.append(format, from, at);
    const Conversion c = parse_conversion(text, at + 1);
    from = c.end;
    if (c.type == '%') {
      out.append("%");
      continue;
    }
    if (next == list.size()) fail("not enough arguments for format string");
    if (c.type == 's' || c.type == 'r') {
      append_text(heap, c, list[next++], out);
    } else if (std::string_view("dixfeg").find(c.type) != std::string::npos) {
      out.append(print_number(c, list[next++]));
    } else {
      fail("% formats other than %s %r %d %i %x %f %e %g are not understood");
    }
  }
  out.append(format, from, text.size());
  if (next < list.size() && !(!many && list[0].is(Kind::Dict))) {
    fail("not all arguments converted during string formatting");
  }
  return out.finish(heap);
}

Value format_braces(Heap& heap, const String& format, const Args& args) {
  if (format.markup) fail("format() of text marked safe is not done");
  TextBuilder out;
  const std::string_view text = format.text;
  size_t from = 0, next = 0;
  for (;;) {
    const size_t at = text.find_first_of("{}", from);
    if (at == std::string_view::npos) break;
    out.append(format, from, at);
    if (at + 1 < text.size() && text[at + 1] == text[at]) {
      out.append(format, at, at + 1);
      from = at + 2;
      continue;
    }
    const size_t close = text[at] == '{' ? text.find('}', at) : std::string_view::npos;
    if (close == std::string_view::npos) fail("single '{}' in a format string", text[at]);
    print(field(args, text.substr(at + 1, close - at - 1), next), out);
    from = close + 1;
  }
  out.append(format, from, text.size());
  return out.finish(heap);
}

}  // namespace pivot::chat::jinja
