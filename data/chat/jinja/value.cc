#include "data/chat/jinja/value.h"

#include <charconv>
#include <cmath>

#include "src/base/check.h"

namespace pivot::chat::jinja {

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, v] : items) {
    if (k == key) return &v;
  }
  return nullptr;
}

void Dict::set(std::string_view key, Value value) {
  for (auto& [k, v] : items) {
    if (k == key) {
      v = std::move(value);
      return;
    }
  }
  items.emplace_back(std::string(key), std::move(value));
}

double Value::number() const {
  if (const bool* b = as<bool>()) return *b ? 1 : 0;
  if (const int64_t* i = as<int64_t>()) return static_cast<double>(*i);
  if (const double* d = as<double>()) return *d;
  throw TypeError{fmt::format("{} is no number", type_name())};
}

int64_t Value::whole() const {
  if (const bool* b = as<bool>()) return *b ? 1 : 0;
  if (const int64_t* i = as<int64_t>()) return *i;
  throw TypeError{fmt::format("{} where an int is needed", type_name())};
}

bool Value::truthy() const {
  if (undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (const Text* t = as_text()) return !t->bytes.empty();
  if (const List* l = as_list()) return !l->empty();
  if (const Dict* d = as_dict()) return !d->items.empty();
  return true;
}

const char* Value::type_name() const {
  static constexpr const char* kNames[] = {"undefined", "None", "bool", "int",     "float",
                                           "str",       "list", "dict", "function"};
  return kNames[data_.index()];
}

namespace {

std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[32];
  const double size = std::fabs(d);
  const bool plain = d == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  const char quote =
      text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<uint8_t>(c)));
    } else {
      out += c;
    }
  }
  return out + quote;
}

}  // namespace

std::string repr(const Value& value) {
  if (const Text* t = value.as_text()) return quoted(t->bytes);
  if (const List* l = value.as_list()) {
    std::string out = "[";
    for (const Value& v : *l) out += (out.size() > 1 ? ", " : "") + repr(v);
    return out + "]";
  }
  if (const Dict* d = value.as_dict()) {
    std::string out = "{";
    for (const auto& [k, v] : d->items)
      out += (out.size() > 1 ? ", " : "") + quoted(k) + ": " + repr(v);
    return out + "}";
  }
  return to_text(value).bytes;
}

Text to_text(const Value& value) {
  if (value.undefined()) return {};
  if (value.is_none()) return {"None"};
  if (const bool* b = value.as<bool>()) return {*b ? "True" : "False"};
  if (const int64_t* i = value.as<int64_t>()) return {std::to_string(*i)};
  if (const double* d = value.as<double>()) return {float_text(*d)};
  if (const Text* t = value.as_text()) return *t;
  if (value.as<std::shared_ptr<Function>>() != nullptr) throw TypeError{"a function has no text"};
  // A list or dict with content of a message is all of it.
  int message = -1;
  const auto mark = [&](const Value& v, const auto& self) -> void {
    if (const Text* t = v.as_text()) {
      if (!t->origins.empty()) message = t->origins.front().message;
    }
    if (const List* l = v.as_list()) {
      for (const Value& x : *l) self(x, self);
    }
    if (const Dict* d = v.as_dict()) {
      for (const auto& [k, x] : d->items) self(x, self);
    }
  };
  mark(value, mark);
  return message >= 0 ? Text::of_message(repr(value), message) : Text(repr(value));
}

bool equal(const Value& a, const Value& b) {
  if (a.undefined() || b.undefined()) return a.undefined() && b.undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_number() && b.is_number()) return a.number() == b.number();
  if (a.as_text() && b.as_text()) return a.as_text()->bytes == b.as_text()->bytes;
  if (a.as_list() && b.as_list()) {
    const List &x = *a.as_list(), &y = *b.as_list();
    if (x.size() != y.size()) return false;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!equal(x[i], y[i])) return false;
    }
    return true;
  }
  if (a.as_dict() && b.as_dict()) {
    const Dict &x = *a.as_dict(), &y = *b.as_dict();
    if (x.items.size() != y.items.size()) return false;
    for (const auto& [k, v] : x.items) {
      const Value* other = y.find(k);
      if (other == nullptr || !equal(v, *other)) return false;
    }
    return true;
  }
  return false;
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    const double x = a.number(), y = b.number();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (a.as_text() && b.as_text()) return a.as_text()->bytes.compare(b.as_text()->bytes);
  throw TypeError{fmt::format("{} and {} have no order", a.type_name(), b.type_name())};
}

bool contains(const Value& container, const Value& item) {
  if (const Text* t = container.as_text()) {
    if (!item.as_text())
      throw TypeError{fmt::format("'in' a str needs a str, not {}", item.type_name())};
    return t->bytes.find(item.as_text()->bytes) != std::string::npos;
  }
  if (const Dict* d = container.as_dict()) {
    return item.as_text() != nullptr && d->find(item.as_text()->bytes) != nullptr;
  }
  if (const List* l = container.as_list()) {
    for (const Value& v : *l) {
      if (equal(v, item)) return true;
    }
    return false;
  }
  if (container.undefined()) return false;
  throw TypeError{fmt::format("{} contains nothing", container.type_name())};
}

std::vector<size_t> character_offsets(const std::string& text) {
  std::vector<size_t> offsets;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) offsets.push_back(i);
  }
  offsets.push_back(text.size());
  return offsets;
}

List elements(const Value& value) {
  if (const List* l = value.as_list()) return *l;
  if (value.undefined()) return {};
  List out;
  if (const Dict* d = value.as_dict()) {
    for (const auto& [k, v] : d->items) out.push_back(Value::text(Text(k)));
    return out;
  }
  if (const Text* t = value.as_text()) {
    const std::vector<size_t> at = character_offsets(t->bytes);
    for (size_t i = 0; i + 1 < at.size(); ++i)
      out.push_back(Value::text(t->part(at[i], at[i + 1])));
    return out;
  }
  throw TypeError{fmt::format("{} cannot be looped over", value.type_name())};
}

}  // namespace pivot::chat::jinja
