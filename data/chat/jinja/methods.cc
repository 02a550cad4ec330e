// Methods of strings, dicts and lists.
#include <algorithm>
#include <array>
#include <optional>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/jinja/text.h"
#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

using Method1 = Value (*)(Renderer& r, const Value& self, const Args& args);

const String& argument_text(const Bound& bound, size_t i) {
  const Value& v = bound.at(i);
  if (v.is(Kind::Undefined)) Renderer::fail_undefined(v);
  if (!v.is(Kind::String)) fail("a string is needed, not {}", type_name(v));
  return string_of(v);
}

std::optional<std::string_view> optional_text(const Bound& bound, size_t i) {
  if (!bound.has(i) || bound.at(i).is(Kind::None)) return std::nullopt;
  return argument_text(bound, i).text;
}

// Text that went through |safe would escape the arguments of these methods.
void require_plain(const Value& self, std::string_view method) {
  if (string_of(self).markup) fail("{}() of text marked safe is not done", method);
}

template <Side kSide>
Value text_strip(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"chars"};
  const Bound bound("strip()", args, kNames);
  const auto characters = optional_text(bound, 0);
  return strip(r.heap(), string_of(self), kSide, characters ? &*characters : nullptr);
}

template <Side kSide>
Value text_split(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"sep", "maxsplit"};
  const Bound bound("split()", args, kNames);
  const auto separator = optional_text(bound, 0);
  return split(r.heap(), string_of(self), separator ? &*separator : nullptr,
               bound.has(1) ? to_index(bound.at(1), "maxsplit") : -1, kSide);
}

Value text_splitlines(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"keepends"};
  const Bound bound("splitlines()", args, kNames);
  return split_lines(r.heap(), string_of(self), bound.has(0) && truthy(bound.at(0)));
}

template <bool kStart>
Value text_affix(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"prefix"};
  const Bound bound(kStart ? "startswith()" : "endswith()", args, kNames);
  const std::string_view text = text_of(self);
  std::vector<Value> choices = {bound.at(0)};
  if (bound.at(0).is(Kind::Tuple)) choices = iterate(r.heap(), bound.at(0));
  return boolean(std::any_of(choices.begin(), choices.end(), [&](const Value& choice) {
    if (choice.is(Kind::Undefined)) Renderer::fail_undefined(choice);
    if (!choice.is(Kind::String))
      fail("a string or a tuple of strings is needed, not {}", type_name(choice));
    return kStart ? text.starts_with(text_of(choice)) : text.ends_with(text_of(choice));
  }));
}

template <bool kStart>
Value text_remove_affix(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"prefix"};
  const Bound bound("removeprefix()", args, kNames);
  const std::string_view affix = argument_text(bound, 0).text, text = text_of(self);
  const bool found = kStart ? text.starts_with(affix) : text.ends_with(affix);
  const size_t cut = found ? affix.size() : 0;
  return slice_bytes(r.heap(), string_of(self), kStart ? cut : 0, text.size() - (kStart ? 0 : cut));
}

Value text_replace(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"old", "new", "count"};
  const Bound bound("replace()", args, kNames);
  require_plain(self, "replace");
  return replace(r.heap(), string_of(self), argument_text(bound, 0).text, argument_text(bound, 1),
                 bound.has(2) ? to_index(bound.at(2), "count") : -1);
}

template <Case kCase>
Value text_case(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("upper()", args, {});
  return change_case(r.heap(), string_of(self), kCase);
}
Value text_title(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("title()", args, {});
  return title_method(r.heap(), string_of(self));
}
Value text_capitalize(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("capitalize()", args, {});
  return capitalize(r.heap(), string_of(self));
}

// find, rfind, index, rindex and count look at whole characters of text[start:end].
struct Window {
  std::string_view text;
  int64_t first = 0;  // characters before it
};

Window window(const Bound& bound, const Value& self) {
  Window w = {text_of(self), 0};
  if (!bound.has(1) && !bound.has(2)) return w;
  const int64_t n = length(self);
  const auto clamp = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  const auto limit = [&](size_t i, int64_t fallback) {
    return bound.has(i) && !bound.at(i).is(Kind::None) ? clamp(to_index(bound.at(i), "position"))
                                                       : fallback;
  };
  w.first = limit(1, 0);
  const size_t begin = byte_offset(w.text, w.first);
  const size_t end = byte_offset(w.text, limit(2, n));
  w.text = w.text.substr(begin, end > begin ? end - begin : 0);
  return w;
}

template <Side kSide, bool kMust>
Value text_find(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"sub", "start", "end"};
  const Bound bound(kMust ? "index()" : "find()", args, kNames);
  const Window w = window(bound, self);
  r.heap().charge_text(w.text.size());
  const std::string_view sub = argument_text(bound, 0).text;
  const size_t found = kSide == Side::Left ? w.text.find(sub) : w.text.rfind(sub);
  if (found == std::string_view::npos) {
    if (kMust) fail("substring not found");
    return integer(-1);
  }
  return integer(w.first + count_characters(w.text.substr(0, found)));
}

Value text_count(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 3> kNames = {"sub", "start", "end"};
  const Bound bound("count()", args, kNames);
  const Window w = window(bound, self);
  r.heap().charge_text(w.text.size());
  const std::string_view sub = argument_text(bound, 0).text;
  if (sub.empty()) return integer(count_characters(w.text) + 1);
  int64_t n = 0;
  for (size_t at = w.text.find(sub); at != std::string_view::npos;
       at = w.text.find(sub, at + sub.size())) {
    ++n;
  }
  return integer(n);
}

Value text_join(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"iterable"};
  const Bound bound("join()", args, kNames);
  require_plain(self, "join");
  const std::vector<Value> items = iterate(r.heap(), bound.at(0));
  for (const Value& item : items) {
    if (!item.is(Kind::String)) fail("join(): a string is needed, not {}", type_name(item));
  }
  return join(r.heap(), string_of(self), items);
}

Value text_format(Renderer& r, const Value& self, const Args& args) {
  return format_braces(r.heap(), string_of(self), args);
}

template <Side kSide>
Value text_partition(Renderer& r, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"sep"};
  const Bound bound("partition()", args, kNames);
  const std::string_view text = text_of(self), separator = argument_text(bound, 0).text;
  if (separator.empty()) fail("empty separator");
  const size_t found = kSide == Side::Left ? text.find(separator) : text.rfind(separator);
  const auto part = [&](size_t begin, size_t end) {
    return slice_bytes(r.heap(), string_of(self), begin, end);
  };
  const size_t n = text.size();
  if (found != std::string_view::npos) {
    const size_t after = found + separator.size();
    return r.heap().tuple({part(0, found), part(found, after), part(after, n)});
  }
  if (kSide == Side::Left) return r.heap().tuple({part(0, n), part(n, n), part(n, n)});
  return r.heap().tuple({part(0, 0), part(0, 0), part(0, n)});
}

enum class Class { Digit, Alpha, Alnum, Space, Lower, Upper };

template <Class kClass>
Value text_is(Renderer&, const Value& self, const Args& args) {
  const Bound bound("isdigit()", args, {});
  const std::string_view text = text_of(self);
  if (kClass == Class::Space) return boolean(!text.empty() && leading_space(text) == text.size());
  if (!is_ascii(text)) fail("the classes of characters are only known of ASCII text");
  bool any = false;
  for (const char c : text) {
    const bool lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
    const bool digit = c >= '0' && c <= '9';
    if (kClass == Class::Lower || kClass == Class::Upper) {
      if (kClass == Class::Lower ? upper : lower) return boolean(false);
      any = any || lower || upper;
      continue;
    }
    const bool alpha = (lower || upper) && kClass != Class::Digit;
    if (!alpha && !(digit && kClass != Class::Alpha)) return boolean(false);
    any = true;
  }
  return boolean(any);
}

Value dict_get(Renderer&, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 2> kNames = {"key", "default"};
  const Bound bound("get()", args, kNames);
  const Value* found = self.as<Dict>().find(bound.at(0));
  return found != nullptr ? *found : bound.or_else(1, none());
}

template <View::What kWhat>
Value dict_view(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("items()", args, {});
  View* view = r.heap().make<View>();
  view->what = kWhat;
  view->dict = &self.as<Dict>();
  return handle(Kind::View, view);
}

Value dict_copy(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("copy()", args, {});
  Dict* copy = r.heap().make<Dict>();
  for (const auto& [key, value] : self.as<Dict>().entries) {
    r.heap().charge(4);
    copy->set(key, value);
  }
  return handle(Kind::Dict, copy);
}

Value list_copy(Renderer& r, const Value& self, const Args& args) {
  const Bound bound("copy()", args, {});
  return r.heap().list(self.as<List>().items);
}

Value list_index(Renderer&, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"value"};
  const Bound bound("index()", args, kNames);
  const std::vector<Value>& items = self.as<List>().items;
  const auto found = std::find_if(items.begin(), items.end(),
                                  [&](const Value& v) { return equal(v, bound.at(0)); });
  if (found == items.end()) fail("the value is not in the list");
  return integer(found - items.begin());
}

Value list_count(Renderer&, const Value& self, const Args& args) {
  static constexpr std::array<std::string_view, 1> kNames = {"value"};
  const Bound bound("count()", args, kNames);
  const std::vector<Value>& items = self.as<List>().items;
  return integer(std::count_if(items.begin(), items.end(),
                               [&](const Value& v) { return equal(v, bound.at(0)); }));
}

Value loop_cycle(Renderer&, const Value& self, const Args& args) {
  if (args.positional.empty()) fail("no items for cycling given");
  const auto at = static_cast<size_t>(std::max<int64_t>(0, self.as<Loop>().index0));
  return args.positional[at % args.positional.size()];
}

Value loop_changed(Renderer&, const Value& self, const Args& args) {
  Loop& loop = self.as<Loop>();
  const bool same =
      loop.changed_called &&
      std::equal(loop.changed.begin(), loop.changed.end(), args.positional.begin(),
                 args.positional.end(), [](const Value& a, const Value& b) { return equal(a, b); });
  loop.changed_called = true;
  loop.changed = args.positional;
  return boolean(!same);
}

// The sandbox of transformers lets no template change a value.
Value refuse_change(Renderer&, const Value& self, const Args&) {
  fail("a template may not change a {} (jinja2's immutable sandbox)", type_name(self));
}

struct Entry {
  Kind kind;
  std::string_view name;
  Method1 call;
};

constexpr Entry kMethods[] = {
    {Kind::String, "capitalize", &text_capitalize},
    {Kind::String, "count", &text_count},
    {Kind::String, "endswith", &text_affix<false>},
    {Kind::String, "find", &text_find<Side::Left, false>},
    {Kind::String, "format", &text_format},
    {Kind::String, "index", &text_find<Side::Left, true>},
    {Kind::String, "isalnum", &text_is<Class::Alnum>},
    {Kind::String, "isalpha", &text_is<Class::Alpha>},
    {Kind::String, "isdigit", &text_is<Class::Digit>},
    {Kind::String, "islower", &text_is<Class::Lower>},
    {Kind::String, "isspace", &text_is<Class::Space>},
    {Kind::String, "isupper", &text_is<Class::Upper>},
    {Kind::String, "join", &text_join},
    {Kind::String, "lower", &text_case<Case::Lower>},
    {Kind::String, "lstrip", &text_strip<Side::Left>},
    {Kind::String, "partition", &text_partition<Side::Left>},
    {Kind::String, "removeprefix", &text_remove_affix<true>},
    {Kind::String, "removesuffix", &text_remove_affix<false>},
    {Kind::String, "replace", &text_replace},
    {Kind::String, "rfind", &text_find<Side::Right, false>},
    {Kind::String, "rindex", &text_find<Side::Right, true>},
    {Kind::String, "rpartition", &text_partition<Side::Right>},
    {Kind::String, "rsplit", &text_split<Side::Right>},
    {Kind::String, "rstrip", &text_strip<Side::Right>},
    {Kind::String, "split", &text_split<Side::Left>},
    {Kind::String, "splitlines", &text_splitlines},
    {Kind::String, "startswith", &text_affix<true>},
    {Kind::String, "strip", &text_strip<Side::Both>},
    {Kind::String, "swapcase", &text_case<Case::Swap>},
    {Kind::String, "title", &text_title},
    {Kind::String, "upper", &text_case<Case::Upper>},
    {Kind::Dict, "clear", &refuse_change},
    {Kind::Dict, "copy", &dict_copy},
    {Kind::Dict, "get", &dict_get},
    {Kind::Dict, "items", &dict_view<View::Items>},
    {Kind::Dict, "keys", &dict_view<View::Keys>},
    {Kind::Dict, "pop", &refuse_change},
    {Kind::Dict, "popitem", &refuse_change},
    {Kind::Dict, "setdefault", &refuse_change},
    {Kind::Dict, "update", &refuse_change},
    {Kind::Dict, "values", &dict_view<View::Values>},
    {Kind::List, "append", &refuse_change},
    {Kind::List, "clear", &refuse_change},
    {Kind::List, "copy", &list_copy},
    {Kind::List, "count", &list_count},
    {Kind::List, "extend", &refuse_change},
    {Kind::List, "index", &list_index},
    {Kind::List, "insert", &refuse_change},
    {Kind::List, "pop", &refuse_change},
    {Kind::List, "remove", &refuse_change},
    {Kind::List, "reverse", &refuse_change},
    {Kind::List, "sort", &refuse_change},
    {Kind::Tuple, "count", &list_count},
    {Kind::Tuple, "index", &list_index},
    {Kind::Loop, "changed", &loop_changed},
    {Kind::Loop, "cycle", &loop_cycle},
};

const Entry* find_method(Kind kind, std::string_view name) {
  const auto found = std::find_if(std::begin(kMethods), std::end(kMethods),
                                  [&](const Entry& e) { return e.kind == kind && e.name == name; });
  return found == std::end(kMethods) ? nullptr : found;
}

}  // namespace

bool is_method_name(std::string_view name) {
  return std::any_of(std::begin(kMethods), std::end(kMethods),
                     [name](const Entry& e) { return e.name == name; });
}

bool has_method(const Value& value, std::string_view name) {
  return find_method(value.kind, name) != nullptr;
}

Value call_method(Renderer& renderer, const Value& self, std::string_view name, const Args& args) {
  const Entry* method = find_method(self.kind, name);
  if (method == nullptr) fail("'{}' has no method '{}'", type_name(self), name);
  return method->call(renderer, self, args);
}

}  // namespace pivot::chat::jinja
