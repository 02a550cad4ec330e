#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/jinja/text.h"
#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

using Names = std::span<const std::string_view>;

Value no_arguments(Renderer& r, std::string_view name, const Value& self, const Args& args) {
  const Bound bound(name, args, Names());
  return to_string(r.heap(), self);
}

std::optional<std::string_view> optional_text(const Bound& bound, size_t i) {
  if (!bound.has(i) || bound.at(i).is(Kind::None)) return std::nullopt;
  if (!bound.at(i).is(Kind::String)) fail("a string is needed, not {}", type_name(bound.at(i)));
  return text_of(bound.at(i));
}

bool flag(const Bound& bound, size_t i) {
  return bound.has(i) && truthy(bound.at(i));
}

Value filter_trim(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"chars"};
  const Bound bound("trim", args, kNames);
  const auto characters = optional_text(bound, 0);
  const Value text = to_string(r.heap(), self);
  return strip(r.heap(), string_of(text), Side::Both, characters ? &*characters : nullptr);
}

Value filter_length(Renderer&, const Value& self, const Args& args) {
  const Bound bound("length", args, Names());
  return integer(length(self));
}

Value filter_upper(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "upper", self, args);
  return change_case(r.heap(), string_of(text), Case::Upper);
}
Value filter_lower(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "lower", self, args);
  return change_case(r.heap(), string_of(text), Case::Lower);
}
Value filter_title(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "title", self, args);
  return title_filter(r.heap(), string_of(text));
}
Value filter_capitalize(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "capitalize", self, args);
  return capitalize(r.heap(), string_of(text));
}
Value filter_string(Renderer& r, const Value& self, const Args& args) {
  return no_arguments(r, "string", self, args);
}

Value filter_safe(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "safe", self, args);
  Value marked = slice_bytes(r.heap(), string_of(text), 0, text_of(text).size());
  marked.as<String>().markup = true;
  return marked;
}

Value filter_escape(Renderer& r, const Value& self, const Args& args) {
  const Value text = no_arguments(r, "escape", self, args);
  return escape_html(r.heap(), string_of(text));
}

Value filter_replace(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"old", "new", "count"};
  const Bound bound("replace", args, kNames);
  const Value text = to_string(r.heap(), self), old = to_string(r.heap(), bound.at(0)),
              with = to_string(r.heap(), bound.at(1));
  const bool counted = bound.has(2) && !bound.at(2).is(Kind::None);
  return replace(r.heap(), string_of(text), text_of(old), string_of(with),
                 counted ? to_index(bound.at(2), "count") : -1);
}

// item.a.b.0 for "a.b.0"; an integer is an index, none gives the item itself.
Value path(Renderer& r, Value item, const Value& attribute) {
  if (attribute.is(Kind::None)) return item;
  if (!attribute.is(Kind::String)) return r.item(item, attribute);
  std::string_view rest = text_of(attribute);
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool index = !part.empty() && part.size() < 10 &&
                       part.find_first_not_of("0123456789") == std::string_view::npos;
    item = r.item(item, index ? integer(std::stoll(std::string(part))) : r.heap().text(part));
    if (dot == std::string_view::npos) return item;
    rest.remove_prefix(dot + 1);
  }
}

Value filter_join(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"d", "attribute"};
  const Bound bound("join", args, kNames);
  std::vector<Value> items = iterate(r.heap(), self);
  for (Value& item : items) {
    if (bound.has(1)) item = path(r, item, bound.at(1));
    item = to_string(r.heap(), item);
  }
  const Value separator = bound.has(0) ? to_string(r.heap(), bound.at(0)) : r.heap().text("");
  return join(r.heap(), string_of(separator), items);
}

Value filter_list(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("list", args, Names());
  return r.heap().list(iterate(r.heap(), self));
}

Value filter_items(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("items", args, Names());
  std::vector<Value> items;
  if (!self.is(Kind::Undefined)) {
    if (!self.is(Kind::Dict)) fail("can only get item pairs from a mapping");
    for (const auto& [key, value] : self.as<Dict>().entries) {
      items.push_back(r.heap().tuple({key, value}));
    }
  }
  return r.heap().generator(std::move(items));
}

Value filter_default(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"default_value", "boolean"};
  const Bound bound("default", args, kNames);
  const bool missing = self.is(Kind::Undefined) || (flag(bound, 1) && !truthy(self));
  if (!missing) return self;
  return bound.has(0) ? bound.at(0) : r.heap().text("");
}

Value filter_first(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("first", args, Names());
  if (self.is(Kind::Generator)) {
    Generator& g = self.as<Generator>();
    if (g.at < g.items.size()) return g.items[g.at++];
  } else if (const std::vector<Value> items = iterate(r.heap(), self); !items.empty()) {
    return items.front();
  }
  return r.heap().undefined("no first item, the sequence was empty");
}

Value filter_last(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("last", args, Names());
  if (self.is(Kind::Generator)) fail("a generator has no last item; make it a list first");
  const std::vector<Value> items = iterate(r.heap(), self);
  return items.empty() ? r.heap().undefined("no last item, the sequence was empty") : items.back();
}

Value filter_reverse(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("reverse", args, Names());
  if (self.is(Kind::String)) return slice_value(r.heap(), self, none(), none(), integer(-1));
  std::vector<Value> items = iterate(r.heap(), self);
  std::reverse(items.begin(), items.end());
  return r.heap().generator(std::move(items));
}

// Numbers made from what the assistant said belong to it.
int32_t owner_of(Renderer& r, const Value& self, std::string_view filter) {
  if (!self.is(Kind::String)) return self.owner;
  int32_t owner = kTemplate;
  for (const Run& run : string_of(self).runs) {
    if (owner >= 0 && run.owner != owner) r.heap().lost = fmt::format("the filter '{}'", filter);
    if (run.owner != kTemplate) owner = std::max(owner, run.owner);
  }
  return owner;
}

// Python's int(text): whitespace around, a sign, "_" between digits.
std::optional<int64_t> whole_text(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool sign = i == 0 && (text[i] == '-' || text[i] == '+');
    const bool joint =
        text[i] == '_' && i > 0 && text[i - 1] >= '0' && text[i - 1] <= '9' && i + 1 < text.size();
    if (!sign && !joint && (text[i] < '0' || text[i] > '9')) return std::nullopt;
    if (!joint) digits += text[i];
  }
  if (digits.empty() || digits == "-" || digits == "+") return std::nullopt;
  constexpr size_t kSafeDigits = 18;
  if (digits.size() > kSafeDigits) fail("an integer beyond 64 bits");
  return std::stoll(digits);
}

std::optional<double> real_text(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  // strtod() also reads what Python does not: hexadecimal numbers, "nan(...)".
  if (text.empty() || text.size() > 400 ||
      text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string copy(text);
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size()) return std::nullopt;
  return value;
}

Value to_integer(const Value& self, const Value& fallback) {
  if (self.is(Kind::Int) || self.is(Kind::Bool)) return integer(to_index(self, "int"));
  double real = self.is(Kind::Float) ? self.number : NAN;
  if (self.is(Kind::String)) {
    if (const auto whole = whole_text(text_of(self))) return integer(*whole);
    real = real_text(text_of(self)).value_or(NAN);
  }
  if (!std::isfinite(real)) return fallback;
  if (std::abs(real) > 9e18) fail("an integer beyond 64 bits");
  return integer(static_cast<int64_t>(real));
}

Value filter_int(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"default", "base"};
  const Bound bound("int", args, kNames);
  if (bound.has(1)) fail("the filter 'int' with a base is not done");
  if (self.is(Kind::Undefined)) Renderer::fail_undefined(self);
  Value result = to_integer(self, bound.or_else(0, integer(0)));
  result.owner = owner_of(r, self, "int");
  return result;
}

Value filter_float(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"default"};
  const Bound bound("float", args, kNames);
  if (self.is(Kind::Undefined)) Renderer::fail_undefined(self);
  Value result = bound.or_else(0, number(0));
  if (is_number(self)) result = number(to_double(self));
  if (self.is(Kind::String)) {
    if (const auto parsed = real_text(text_of(self))) result = number(*parsed);
  }
  result.owner = owner_of(r, self, "float");
  return result;
}

Value filter_abs(Renderer&, const Value& self, const Args& args) {
  const Bound bound("abs", args, Names());
  if (self.is(Kind::Float)) return number(std::abs(self.number));
  const int64_t i = to_index(self, "abs()");
  if (i == INT64_MIN) fail("an integer beyond 64 bits");
  return integer(std::abs(i));
}

Value filter_indent(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"width", "first", "blank"};
  const Bound bound("indent", args, kNames);
  if (!self.is(Kind::String)) fail("the filter 'indent' needs a string, not {}", type_name(self));
  if (string_of(self).markup) fail("indent of text marked safe is not done");
  const Value width = bound.or_else(0, integer(4));
  constexpr int64_t kWidest = 1000;
  const std::string indention =
      width.is(Kind::String)
          ? std::string(text_of(width))
          : std::string(
                static_cast<size_t>(std::clamp<int64_t>(to_index(width, "width"), 0, kWidest)),
                ' ');
  // Python appends "\n" before it splits, so that a last empty line counts.
  TextBuilder with_end;
  with_end.append(string_of(self));
  with_end.append("\n");
  const Value whole = with_end.finish(r.heap());
  const Value lines = split_lines(r.heap(), string_of(whole), false);
  TextBuilder out;
  bool first = true;
  for (const Value& line : lines.as<List>().items) {
    if (!first) out.append("\n");
    const bool wanted = first ? flag(bound, 1) : flag(bound, 2) || !text_of(line).empty();
    if (wanted) out.append(indention);
    out.append(string_of(line));
    r.heap().charge_text(indention.size());
    first = false;
  }
  return out.finish(r.heap());
}

Value filter_tojson(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 4> kNames = {"ensure_ascii", "indent", "separators",
                                                             "sort_keys"};
  const Bound bound("tojson", args, kNames);
  DumpOptions options;
  options.ensure_ascii = flag(bound, 0);
  options.sort_keys = flag(bound, 3);
  if (bound.has(1) && !bound.at(1).is(Kind::None)) {
    options.indented = true;
    options.item_separator = ",";
    constexpr int64_t kWidest = 100;
    const Value& indent = bound.at(1);
    options.indent =
        indent.is(Kind::String)
            ? std::string(text_of(indent))
            : std::string(
                  static_cast<size_t>(std::clamp<int64_t>(to_index(indent, "indent"), 0, kWidest)),
                  ' ');
  }
  if (bound.has(2) && !bound.at(2).is(Kind::None)) {
    const std::vector<Value> pair = iterate(r.heap(), bound.at(2));
    if (pair.size() != 2 || !pair[0].is(Kind::String) || !pair[1].is(Kind::String)) {
      fail("tojson: separators are two strings");
    }
    options.item_separator = text_of(pair[0]);
    options.key_separator = text_of(pair[1]);
  }
  TextBuilder out;
  dump_json(self, options, out);
  return out.finish(r.heap());
}

// What sort and unique compare: text without case unless asked to keep it.
Value sort_key(Renderer& r, const Value& item, const Value& attribute, bool keep_case) {
  const Value key = path(r, item, attribute);
  if (keep_case || !key.is(Kind::String)) return key;
  return change_case(r.heap(), string_of(key), Case::Lower);
}

// std::stable_sort must not see an order that fails halfway, so keys are compared beforehand.
std::vector<Value> sorted_by(Renderer& r, std::vector<std::pair<std::vector<Value>, Value>> keyed,
                             bool reverse) {
  r.heap().charge(static_cast<int64_t>(keyed.size()) * 8);
  const auto before = [](const auto& a, const auto& b) {
    for (size_t i = 0; i < a.first.size(); ++i) {
      if (!equal(a.first[i], b.first[i])) return less(a.first[i], b.first[i], "<");
    }
    return false;
  };
  if (reverse) {  // stable both ways, as Python's
    std::reverse(keyed.begin(), keyed.end());
  }
  std::stable_sort(keyed.begin(), keyed.end(), before);
  if (reverse) std::reverse(keyed.begin(), keyed.end());
  std::vector<Value> items;
  for (const auto& [key, item] : keyed) items.push_back(item);
  return items;
}

Value filter_sort(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"reverse", "case_sensitive",
                                                             "attribute"};
  const Bound bound("sort", args, kNames);
  std::vector<Value> attributes = {bound.or_else(2, none())};
  if (attributes[0].is(Kind::String)) {
    const std::string_view comma = ",";
    attributes = split(r.heap(), string_of(attributes[0]), &comma, -1, Side::Left).as<List>().items;
  }
  std::vector<std::pair<std::vector<Value>, Value>> keyed;
  for (const Value& item : iterate(r.heap(), self)) {
    std::vector<Value> keys;
    for (const Value& a : attributes) keys.push_back(sort_key(r, item, a, flag(bound, 1)));
    keyed.emplace_back(std::move(keys), item);
  }
  return r.heap().list(sorted_by(r, std::move(keyed), flag(bound, 0)));
}

Value filter_dictsort(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"case_sensitive", "by", "reverse"};
  const Bound bound("dictsort", args, kNames);
  const auto by = optional_text(bound, 1);
  if (by && *by != "key" && *by != "value")
    fail("you can only sort by either \"key\" or \"value\"");
  if (!self.is(Kind::Dict)) fail("dictsort needs a dict, not {}", type_name(self));
  std::vector<std::pair<std::vector<Value>, Value>> keyed;
  for (const auto& [key, value] : self.as<Dict>().entries) {
    const Value& what = by && *by == "value" ? value : key;
    keyed.emplace_back(std::vector<Value>{sort_key(r, what, none(), flag(bound, 0))},
                       r.heap().tuple({key, value}));
  }
  return r.heap().list(sorted_by(r, std::move(keyed), flag(bound, 2)));
}

Value filter_unique(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"case_sensitive", "attribute"};
  const Bound bound("unique", args, kNames);
  std::vector<Value> seen, items;
  for (const Value& item : iterate(r.heap(), self)) {
    const Value key = sort_key(r, item, bound.or_else(1, none()), flag(bound, 0));
    if (key.is(Kind::List) || key.is(Kind::Dict)) fail("unhashable type: '{}'", type_name(key));
    r.heap().charge(static_cast<int64_t>(seen.size()));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); })) {
      continue;
    }
    seen.push_back(key);
    items.push_back(item);
  }
  return r.heap().generator(std::move(items));
}

Value extreme(Renderer& r, const Value& self, const Args& args, std::string_view name,
              bool largest) {
  static constexpr std::array<std::string_view, 2> kNames = {"case_sensitive", "attribute"};
  const Bound bound(name, args, kNames);
  Value best, best_key;
  bool any = false;
  for (const Value& item : iterate(r.heap(), self)) {
    const Value key = sort_key(r, item, bound.or_else(1, none()), flag(bound, 0));
    if (!any || (largest ? less(best_key, key, ">") : less(key, best_key, "<"))) {
      best = item;
      best_key = key;
    }
    any = true;
  }
  return any ? best : r.heap().undefined("no aggregated item, the sequence was empty");
}

Value filter_min(Renderer& r, const Value& self, const Args& args) {
  return extreme(r, self, args, "min", false);
}
Value filter_max(Renderer& r, const Value& self, const Args& args) {
  return extreme(r, self, args, "max", true);
}

Value filter_sum(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"attribute", "start"};
  const Bound bound("sum", args, kNames);
  Value total = bound.or_else(1, integer(0));
  for (const Value& item : iterate(r.heap(), self)) {
    total = binary_operation(r.heap(), "+", total, path(r, item, bound.or_else(0, none())));
  }
  return total;
}

Value filter_map(Renderer& r, const Value& self, const Args& args) {
  std::vector<Value> items;
  if (!truthy(self)) return r.heap().generator({});
  if (args.positional.empty()) {
    static constexpr std::array<std::string_view, 2> kNames = {"attribute", "default"};
    const Bound bound("map", args, kNames);
    if (!bound.has(0)) fail("map requires a filter argument");
    for (const Value& item : iterate(r.heap(), self)) {
      Value found = path(r, item, bound.at(0));
      if (found.is(Kind::Undefined) && bound.has(1) && !bound.at(1).is(Kind::None)) {
        found = bound.at(1);
      }
      items.push_back(found);
    }
    return r.heap().generator(std::move(items));
  }
  if (!args.positional[0].is(Kind::String)) fail("map: the name of a filter is needed");
  const Builtin* filter = find_filter(text_of(args.positional[0]));
  if (filter == nullptr) fail("the filter '{}' is not understood", text_of(args.positional[0]));
  Args rest = args;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : iterate(r.heap(), self)) {
    const Level level(r.depth(), r.heap());
    items.push_back(filter->call(r, item, rest));
  }
  return r.heap().generator(std::move(items));
}

// select, reject and their forms by attribute: items whose test gives `wanted`.
Value select(Renderer& r, const Value& self, const Args& args, bool by_attribute, bool wanted) {
  std::vector<Value> items;
  if (!truthy(self)) return r.heap().generator({});
  Args rest = args;
  Value attribute = none();
  const Builtin* test = nullptr;
  if (by_attribute) {
    if (rest.positional.empty()) fail("missing parameter for attribute name");
    attribute = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
  }
  if (!rest.positional.empty()) {
    const Value name = to_string(r.heap(), rest.positional.front());
    test = find_test(text_of(name));
    if (test == nullptr) fail("the test '{}' is not understood", text_of(name));
    rest.positional.erase(rest.positional.begin());
  }
  for (const Value& item : iterate(r.heap(), self)) {
    const Value value = path(r, item, attribute);
    const bool passes = truthy(test != nullptr ? test->call(r, value, rest) : value);
    if (passes == wanted) items.push_back(item);
  }
  return r.heap().generator(std::move(items));
}

Value filter_select(Renderer& r, const Value& self, const Args& args) {
  return select(r, self, args, false, true);
}
Value filter_reject(Renderer& r, const Value& self, const Args& args) {
  return select(r, self, args, false, false);
}
Value filter_selectattr(Renderer& r, const Value& self, const Args& args) {
  return select(r, self, args, true, true);
}
Value filter_rejectattr(Renderer& r, const Value& self, const Args& args) {
  return select(r, self, args, true, false);
}

constexpr Builtin kFilters[] = {
    {"abs", &filter_abs},
    {"capitalize", &filter_capitalize},
    {"count", &filter_length},
    {"d", &filter_default},
    {"default", &filter_default},
    {"dictsort", &filter_dictsort},
    {"e", &filter_escape},
    {"escape", &filter_escape},
    {"first", &filter_first},
    {"float", &filter_float},
    {"indent", &filter_indent},
    {"int", &filter_int},
    {"items", &filter_items},
    {"join", &filter_join},
    {"last", &filter_last},
    {"length", &filter_length},
    {"list", &filter_list},
    {"lower", &filter_lower},
    {"map", &filter_map},
    {"max", &filter_max},
    {"min", &filter_min},
    {"reject", &filter_reject},
    {"rejectattr", &filter_rejectattr},
    {"replace", &filter_replace},
    {"reverse", &filter_reverse},
    {"safe", &filter_safe},
    {"select", &filter_select},
    {"selectattr", &filter_selectattr},
    {"sort", &filter_sort},
    {"string", &filter_string},
    {"sum", &filter_sum},
    {"title", &filter_title},
    {"tojson", &filter_tojson},
    {"trim", &filter_trim},
    {"unique", &filter_unique},
    {"upper", &filter_upper},
};

}  // namespace

Bound::Bound(std::string_view builtin, const Args& args, std::span<const std::string_view> names)
    : builtin_(builtin), names_(names), given_(names.size()) {
  if (args.positional.size() > names.size()) {
    fail("{} takes not more than {} arguments", builtin, names.size());
  }
  for (size_t i = 0; i < args.positional.size(); ++i) given_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto known = std::find(names.begin(), names.end(), name);
    if (known == names.end()) fail("{} has no argument '{}'", builtin, name);
    const Value*& slot = given_[static_cast<size_t>(known - names.begin())];
    if (slot != nullptr) fail("{} got two values for argument '{}'", builtin, name);
    slot = &value;
  }
}

const Value& Bound::at(size_t i) const {
  if (!has(i)) fail("{} needs its argument '{}'", builtin_, names_[i]);
  return *given_[i];
}

const Builtin* find_filter(std::string_view name) {
  const auto found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                  [name](const Builtin& b) { return b.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace pivot::chat::jinja
