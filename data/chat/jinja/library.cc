#include "data/chat/jinja/library.h"

#include <algorithm>
#include <cmath>

#include "data/chat/jinja/text_functions.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

Value join(const Value& value, const Text& separator, const Value* key) {
  Text out;
  bool first = true;
  for (const Value& v : elements(value)) {
    if (!first) out.append(separator);
    first = false;
    out.append(to_text(key != nullptr ? attribute(v, text_of(*key, "join").bytes) : v));
  }
  return Value::text(std::move(out));
}

Text indent(const Text& t, const Arguments& a) {
  const Value* width = argument(a, 0, "width");
  const Value* first = argument(a, 1, "first");
  const Value* blank = argument(a, 2, "blank");
  const Text pad = width != nullptr && width->as_text() != nullptr
                       ? *width->as_text()
                       : Text(std::string(static_cast<size_t>(std::clamp<int64_t>(
                                              width != nullptr ? width->whole() : 4, 0, 1000)),
                                          ' '));
  Text out;
  size_t begin = 0;
  bool first_line = true;
  for (;;) {
    const size_t end = std::min(t.bytes.find('\n', begin), t.bytes.size());
    const bool pads = first_line ? first != nullptr && first->truthy()
                                 : end > begin || (blank != nullptr && blank->truthy());
    if (pads) out.append(pad);
    out.append(t.part(begin, end));
    if (end == t.bytes.size()) return out;
    out.append(Text("\n"));
    begin = end + 1;
    first_line = false;
  }
}

int64_t length(const Value& v) {
  if (const Text* t = v.as_text())
    return static_cast<int64_t>(character_offsets(t->bytes).size()) - 1;
  return static_cast<int64_t>(elements(v).size());
}

List items(const Value& v) {
  const Dict* d = v.as_dict();
  if (d == nullptr) {
    if (v.undefined()) return {};
    throw TypeError{fmt::format("{} has no items", v.type_name())};
  }
  List out;
  for (const auto& [k, x] : d->items) out.push_back(Value::list({Value::text(Text(k)), x}));
  return out;
}

// selectattr, rejectattr, select, reject
List choose(const Value& value, const Arguments& a, bool by_attribute, bool keep) {
  List out;
  const size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty())
    throw TypeError{"selectattr needs the name of an attribute"};
  Arguments rest;
  for (size_t i = skip + 1; i < a.positional.size(); ++i)
    rest.positional.push_back(a.positional[i]);
  for (const Value& v : elements(value)) {
    Value looked = v;
    if (by_attribute) {
      for (const Value& part : split(text_of(a.positional[0], "selectattr"), ".", -1)) {
        looked = attribute(looked, part.as_text()->bytes);
      }
    }
    bool is = looked.truthy();
    if (a.positional.size() > skip) {
      const std::string test = text_of(a.positional[skip], "the name of a test").bytes;
      if (!known_test(test)) throw TypeError{fmt::format("test '{}' is not supported", test)};
      is = apply_test(test, looked, rest);
    }
    if (is == keep) out.push_back(v);
  }
  return out;
}

List map(const Value& value, Arguments& a) {
  List out;
  const Value* by = argument(a, 99, "attribute");
  const Value* otherwise = argument(a, 99, "default");
  std::string filter;
  Arguments rest;
  if (by == nullptr) {
    if (a.positional.empty()) throw TypeError{"map needs an attribute or a filter"};
    filter = text_of(a.positional[0], "map").bytes;
    if (!known_filter(filter)) throw TypeError{fmt::format("filter '{}' is not supported", filter)};
    rest.positional.assign(a.positional.begin() + 1, a.positional.end());
    rest.named = a.named;
  }
  for (const Value& v : elements(value)) {
    Value x =
        by != nullptr ? attribute(v, text_of(*by, "map").bytes) : apply_filter(filter, v, rest);
    if (x.undefined() && otherwise != nullptr) x = *otherwise;
    out.push_back(std::move(x));
  }
  return out;
}

List sorted(const Value& value, const Arguments& a) {
  List out = elements(value);
  const Value* by = argument(a, 2, "attribute");
  const Value* reverse = argument(a, 0, "reverse");
  const auto key = [&](const Value& v) {
    return by != nullptr ? attribute(v, text_of(*by, "sort").bytes) : v;
  };
  std::stable_sort(out.begin(), out.end(),
                   [&](const Value& x, const Value& y) { return compare(key(x), key(y)) < 0; });
  if (reverse != nullptr && reverse->truthy()) std::reverse(out.begin(), out.end());
  return out;
}

using Filter = Value (*)(const Value&, Arguments&);
struct NamedFilter {
  std::string_view name;
  Filter apply;
};

const NamedFilter kFilters[] = {
    {"trim",
     [](const Value& v, Arguments& a) {
       return Value::text(strip(to_text(v), argument(a, 0, "chars"), kLeft | kRight));
     }},
    {"length", [](const Value& v, Arguments&) { return Value::integer(length(v)); }},
    {"count", [](const Value& v, Arguments&) { return Value::integer(length(v)); }},
    {"upper",
     [](const Value& v, Arguments&) { return Value::text(with_case(to_text(v), Case::Upper)); }},
    {"lower",
     [](const Value& v, Arguments&) { return Value::text(with_case(to_text(v), Case::Lower)); }},
    {"title",
     [](const Value& v, Arguments&) { return Value::text(with_case(to_text(v), Case::Title)); }},
    {"capitalize", [](const Value& v,
                      Arguments&) { return Value::text(with_case(to_text(v), Case::Capitalize)); }},
    {"replace",
     [](const Value& v, Arguments& a) {
       if (a.positional.size() < 2) throw TypeError{"replace needs two texts"};
       return Value::text(replace(to_text(v), text_of(a.positional[0], "replace"),
                                  text_of(a.positional[1], "replace"),
                                  a.positional.size() > 2 ? a.positional[2].whole() : -1));
     }},
    {"join",
     [](const Value& v, Arguments& a) {
       const Value* separator = argument(a, 0, "d");
       return join(v, separator != nullptr ? to_text(*separator) : Text(),
                   argument(a, 1, "attribute"));
     }},
    {"list", [](const Value& v, Arguments&) { return Value::list(elements(v)); }},
    {"items", [](const Value& v, Arguments&) { return Value::list(items(v)); }},
    {"dictsort",
     [](const Value& v, Arguments&) {
       List l = items(v);
       std::stable_sort(l.begin(), l.end(), [](const Value& x, const Value& y) {
         return with_case((*x.as_list())[0].as_text()->bytes, Case::Lower).bytes <
                with_case((*y.as_list())[0].as_text()->bytes, Case::Lower).bytes;
       });
       return Value::list(std::move(l));
     }},
    {"selectattr",
     [](const Value& v, Arguments& a) { return Value::list(choose(v, a, true, true)); }},
    {"rejectattr",
     [](const Value& v, Arguments& a) { return Value::list(choose(v, a, true, false)); }},
    {"select", [](const Value& v, Arguments& a) { return Value::list(choose(v, a, false, true)); }},
    {"reject",
     [](const Value& v, Arguments& a) { return Value::list(choose(v, a, false, false)); }},
    {"map", [](const Value& v, Arguments& a) { return Value::list(map(v, a)); }},
    {"default",
     [](const Value& v, Arguments& a) {
       const Value* otherwise = argument(a, 0, "default_value");
       const Value* falsy = argument(a, 1, "boolean");
       const bool replaces = v.undefined() || (falsy != nullptr && falsy->truthy() && !v.truthy());
       return replaces ? (otherwise != nullptr ? *otherwise : Value::text({})) : v;
     }},
    {"first",
     [](const Value& v, Arguments&) {
       const List l = elements(v);
       return l.empty() ? Value() : l.front();
     }},
    {"last",
     [](const Value& v, Arguments&) {
       const List l = elements(v);
       return l.empty() ? Value() : l.back();
     }},
    {"string", [](const Value& v, Arguments&) { return Value::text(to_text(v)); }},
    {"safe", [](const Value& v, Arguments&) { return v; }},
    {"int",
     [](const Value& v, Arguments& a) {
       const Value* otherwise = argument(a, 0, "default");
       if (v.is_number()) return Value::integer(static_cast<int64_t>(v.number()));
       const std::string t = to_text(v).bytes;
       char* end = nullptr;
       const double d = std::strtod(t.c_str(), &end);
       const bool number = !t.empty() && end == t.c_str() + t.size() && std::fabs(d) < 1e18;
       return number                 ? Value::integer(static_cast<int64_t>(d))
              : otherwise != nullptr ? *otherwise
                                     : Value::integer(0);
     }},
    {"float",
     [](const Value& v, Arguments&) {
       if (v.is_number()) return Value(Value::Data(v.number()));
       return Value(Value::Data(std::strtod(to_text(v).bytes.c_str(), nullptr)));
     }},
    {"abs",
     [](const Value& v, Arguments&) {
       if (v.as<double>() != nullptr) return Value(Value::Data(std::fabs(v.number())));
       return Value::integer(std::abs(v.whole()));
     }},
    {"tojson",
     [](const Value& v, Arguments& a) {
       const Value* width = argument(a, 99, "indent");
       const int spaces = width != nullptr && !width->is_none()
                              ? static_cast<int>(std::clamp<int64_t>(width->whole(), 0, 100))
                              : -1;
       return Value::text(to_text(v).changed(to_json(v, spaces)));
     }},
    {"indent", [](const Value& v, Arguments& a) { return Value::text(indent(to_text(v), a)); }},
    {"reverse",
     [](const Value& v, Arguments&) {
       List l = elements(v);
       std::reverse(l.begin(), l.end());
       if (v.as_text() == nullptr) return Value::list(std::move(l));
       return join(Value::list(std::move(l)), Text(), nullptr);
     }},
    {"unique",
     [](const Value& v, Arguments&) {
       List out;
       for (const Value& x : elements(v)) {
         if (!contains(Value::list(out), x)) out.push_back(x);
       }
       return Value::list(std::move(out));
     }},
    {"sort", [](const Value& v, Arguments& a) { return Value::list(sorted(v, a)); }},
};

constexpr std::string_view kTests[] = {
    "defined",  "undefined", "none",  "string",  "mapping", "iterable", "sequence",
    "number",   "integer",   "float", "boolean", "true",    "false",    "equalto",
    "eq",       "==",        "ne",    "in",      "odd",     "even",     "divisibleby",
    "callable", "gt",        "lt",    "ge",      "le",      "lower",    "upper"};

}  // namespace

const Value* argument(const Arguments& a, size_t position, std::string_view name) {
  if (position < a.positional.size()) return &a.positional[position];
  for (const auto& [n, v] : a.named) {
    if (n == name) return &v;
  }
  return nullptr;
}

bool known_filter(std::string_view name) {
  return name == "d" || name == "e" ||
         std::any_of(std::begin(kFilters), std::end(kFilters),
                     [&](const NamedFilter& f) { return f.name == name; });
}

bool known_test(std::string_view name) {
  return std::find(std::begin(kTests), std::end(kTests), name) != std::end(kTests);
}

Value apply_filter(std::string_view name, const Value& value, Arguments& a) {
  if (name == "d") name = "default";
  for (const NamedFilter& f : kFilters) {
    if (f.name == name) return f.apply(value, a);
  }
  throw TypeError{fmt::format("filter '{}' is not supported", name)};
}

bool apply_test(std::string_view name, const Value& v, const Arguments& a) {
  const Value* other = argument(a, 0, "");
  const auto given = [&]() -> const Value& {
    if (other == nullptr) throw TypeError{fmt::format("test '{}' needs a value", name)};
    return *other;
  };
  if (name == "defined") return !v.undefined();
  if (name == "undefined") return v.undefined();
  if (name == "none") return v.is_none();
  if (name == "string") return v.as_text() != nullptr;
  if (name == "mapping") return v.as_dict() != nullptr;
  if (name == "iterable" || name == "sequence") {
    return v.as_text() != nullptr || v.as_list() != nullptr || v.as_dict() != nullptr ||
           (v.undefined());
  }
  if (name == "number") return v.is_number();
  if (name == "integer") return v.as<int64_t>() != nullptr;
  if (name == "float") return v.as<double>() != nullptr;
  if (name == "boolean") return v.as<bool>() != nullptr;
  if (name == "true") return v.as<bool>() != nullptr && *v.as<bool>();
  if (name == "false") return v.as<bool>() != nullptr && !*v.as<bool>();
  if (name == "equalto" || name == "eq" || name == "==") return equal(v, given());
  if (name == "ne") return !equal(v, given());
  if (name == "in") return contains(given(), v);
  if (name == "odd") return v.whole() % 2 != 0;
  if (name == "even") return v.whole() % 2 == 0;
  if (name == "divisibleby") {
    if (given().whole() == 0) throw TypeError{"division by zero"};
    return v.whole() % given().whole() == 0;
  }
  if (name == "gt") return compare(v, given()) > 0;
  if (name == "lt") return compare(v, given()) < 0;
  if (name == "ge") return compare(v, given()) >= 0;
  if (name == "le") return compare(v, given()) <= 0;
  if (name == "callable") return v.as<std::shared_ptr<Function>>() != nullptr;
  if (name == "lower") return with_case(to_text(v), Case::Lower).bytes == to_text(v).bytes;
  return with_case(to_text(v), Case::Upper).bytes == to_text(v).bytes;
}

Value attribute(const Value& value, std::string_view name) {
  if (value.undefined()) {
    throw TypeError{
        fmt::format("'{}' is undefined and has no '{}'", value.as<Undefined>()->name, name)};
  }
  if (const Dict* d = value.as_dict()) {
    if (const Value* v = d->find(name)) return *v;
  }
  return Value(Undefined{std::string(name)});
}

Value item(const Value& value, const Value& key) {
  if (value.undefined())
    throw TypeError{fmt::format("'{}' is undefined", value.as<Undefined>()->name)};
  if (const Dict* d = value.as_dict()) {
    const Value* found = key.as_text() != nullptr ? d->find(key.as_text()->bytes) : nullptr;
    return found != nullptr ? *found : Value(Undefined{to_text(key).bytes});
  }
  if (key.as<int64_t>() == nullptr) return Value(Undefined{to_text(key).bytes});
  if (value.as_text() != nullptr) {
    Value one = slice(value, &key, nullptr, nullptr);
    const List first = elements(slice(one, nullptr, nullptr, nullptr));
    return first.empty() ? Value(Undefined{std::to_string(key.whole())}) : first.front();
  }
  const List* l = value.as_list();
  if (l == nullptr) throw TypeError{fmt::format("{} has no items", value.type_name())};
  const auto size = static_cast<int64_t>(l->size());
  int64_t i = key.whole();
  if (i < 0) i += size;
  return i >= 0 && i < size ? (*l)[static_cast<size_t>(i)]
                            : Value(Undefined{std::to_string(key.whole())});
}

Value slice(const Value& value, const Value* begin, const Value* end, const Value* step) {
  const auto given = [](const Value* v) { return v != nullptr && !v->is_none(); };
  std::vector<size_t> offsets;
  if (const Text* t = value.as_text()) offsets = character_offsets(t->bytes);
  const int64_t size = value.as_text() != nullptr ? static_cast<int64_t>(offsets.size()) - 1
                                                  : static_cast<int64_t>(elements(value).size());
  const int64_t stride = given(step) ? step->whole() : 1;
  if (stride == 0) throw TypeError{"a slice with step 0"};
  const auto clamp = [&](const Value* v, int64_t otherwise) {
    if (!given(v)) return otherwise;
    const int64_t i = v->whole() < 0 ? v->whole() + size : v->whole();
    return stride > 0 ? std::clamp<int64_t>(i, 0, size) : std::clamp<int64_t>(i, -1, size - 1);
  };
  if (const Text* t = value.as_text(); t != nullptr && stride == 1) {
    const int64_t b = clamp(begin, 0), e = std::max(b, clamp(end, size));
    return Value::text(t->part(offsets[static_cast<size_t>(b)], offsets[static_cast<size_t>(e)]));
  }
  const List all = elements(value);
  const int64_t first = clamp(begin, stride > 0 ? 0 : size - 1);
  const int64_t last = clamp(end, stride > 0 ? size : -1);
  List out;
  for (int64_t i = first; stride > 0 ? i < last : i > last; i += stride)
    out.push_back(all[static_cast<size_t>(i)]);
  if (value.as_text() == nullptr) return Value::list(std::move(out));
  return join(Value::list(std::move(out)), Text(), nullptr);
}

namespace {

constexpr std::string_view kTextMethods[] = {
    "strip",   "lstrip", "rstrip",     "split",   "rsplit",       "startswith",   "endswith",
    "replace", "upper",  "lower",      "title",   "capitalize",   "find",         "rfind",
    "count",   "join",   "splitlines", "isdigit", "removeprefix", "removesuffix", "format"};
constexpr std::string_view kDictMethods[] = {"get", "items", "keys", "values"};

bool starts_or_ends(const Text& t, const Value& what, bool starts) {
  if (const List* any = what.as_list()) {
    return std::any_of(any->begin(), any->end(),
                       [&](const Value& v) { return starts_or_ends(t, v, starts); });
  }
  const std::string& s = text_of(what, "startswith").bytes;
  if (s.size() > t.bytes.size()) return false;
  return t.bytes.compare(starts ? 0 : t.bytes.size() - s.size(), s.size(), s) == 0;
}

// Characters before byte `at`.
int64_t characters_before(const std::string& text, size_t at) {
  return static_cast<int64_t>(character_offsets(text.substr(0, at)).size()) - 1;
}

Value text_method(const Text& t, std::string_view name, Arguments& a) {
  const auto first = [&]() -> const Value& {
    if (a.positional.empty()) throw TypeError{fmt::format("{} needs an argument", name)};
    return a.positional[0];
  };
  if (name == "strip") return Value::text(strip(t, argument(a, 0, "chars"), kLeft | kRight));
  if (name == "lstrip") return Value::text(strip(t, argument(a, 0, "chars"), kLeft));
  if (name == "rstrip") return Value::text(strip(t, argument(a, 0, "chars"), kRight));
  if (name == "split" || name == "rsplit") {
    const Value* separator = argument(a, 0, "sep");
    const Value* most = argument(a, 1, "maxsplit");
    const int64_t limit = most != nullptr ? most->whole() : -1;
    if (separator == nullptr || separator->is_none()) {
      if (limit >= 0) throw TypeError{"split at white space with a limit is not supported"};
      return Value::list(split_spaces(t));
    }
    const std::string& s = text_of(*separator, "split").bytes;
    return Value::list(name == "split" ? split(t, s, limit) : split_right(t, s, limit));
  }
  if (name == "splitlines") {
    List lines = split(replace(t, Text("\r\n"), Text("\n"), -1), "\n", -1);
    if (lines.back().as_text()->bytes.empty()) lines.pop_back();
    return Value::list(std::move(lines));
  }
  if (name == "startswith") return Value::boolean(starts_or_ends(t, first(), true));
  if (name == "endswith") return Value::boolean(starts_or_ends(t, first(), false));
  if (name == "replace") {
    if (a.positional.size() < 2) throw TypeError{"replace needs two texts"};
    return Value::text(replace(t, text_of(a.positional[0], name), text_of(a.positional[1], name),
                               a.positional.size() > 2 ? a.positional[2].whole() : -1));
  }
  if (name == "upper") return Value::text(with_case(t, Case::Upper));
  if (name == "lower") return Value::text(with_case(t, Case::Lower));
  if (name == "title") return Value::text(with_case(t, Case::Title));
  if (name == "capitalize") return Value::text(with_case(t, Case::Capitalize));
  if (name == "find" || name == "rfind") {
    const std::string& s = text_of(first(), name).bytes;
    const size_t at = name == "find" ? t.bytes.find(s) : t.bytes.rfind(s);
    return Value::integer(at == std::string::npos ? -1 : characters_before(t.bytes, at));
  }
  if (name == "count")
    return Value::integer(static_cast<int64_t>(split(t, text_of(first(), name).bytes, -1).size()) -
                          1);
  if (name == "join") return join(first(), t, nullptr);
  if (name == "isdigit") {
    return Value::boolean(
        !t.bytes.empty() &&
        std::all_of(t.bytes.begin(), t.bytes.end(), [](char c) { return c >= '0' && c <= '9'; }));
  }
  if (name == "removeprefix") {
    const size_t n = starts_or_ends(t, first(), true) ? text_of(first(), name).bytes.size() : 0;
    return Value::text(t.part(n, t.bytes.size()));
  }
  if (name == "removesuffix") {
    const size_t n = starts_or_ends(t, first(), false) ? text_of(first(), name).bytes.size() : 0;
    return Value::text(t.part(0, t.bytes.size() - n));
  }
  throw TypeError{fmt::format("the method {} of texts is not supported", name)};
}

Value dict_method(const Value& value, std::string_view name, Arguments& a) {
  const Dict& d = *value.as_dict();
  if (name == "get") {
    const Value* key = argument(a, 0, "key");
    const Value* otherwise = argument(a, 1, "default");
    const Value* found =
        key != nullptr && key->as_text() != nullptr ? d.find(key->as_text()->bytes) : nullptr;
    return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value::none();
  }
  if (name == "items") return Value::list(items(value));
  List out;
  for (const auto& [k, v] : d.items) out.push_back(name == "keys" ? Value::text(Text(k)) : v);
  return Value::list(std::move(out));
}

}  // namespace

bool known_method(const Value& value, std::string_view name) {
  const auto in = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  if (value.as_text() != nullptr) return in(kTextMethods);
  if (value.as_dict() != nullptr) return in(kDictMethods);
  return false;
}

bool call_method(const Value& value, std::string_view name, Arguments& a, Value& result) {
  if (!known_method(value, name)) return false;
  result = value.as_text() != nullptr ? text_method(*value.as_text(), name, a)
                                      : dict_method(value, name, a);
  return true;
}

}  // namespace pivot::chat::jinja
