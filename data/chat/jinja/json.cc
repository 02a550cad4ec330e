#include <cmath>

#include <nlohmann/json.hpp>

#include "data/chat/jinja/value.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 100;

Value convert(const Json& j, int depth, const std::string& where) {
  if (depth > kMaxDepth) throw_user("{}: JSON nested deeper than {}", where, kMaxDepth);
  if (j.is_boolean()) return Value::boolean(j.get<bool>());
  if (j.is_number_integer()) return Value::integer(j.get<int64_t>());
  if (j.is_number_float()) return Value::Data(j.get<double>());
  if (j.is_string()) return Value::text(Text(j.get<std::string>()));
  if (j.is_array()) {
    List list;
    for (const Json& x : j) list.push_back(convert(x, depth + 1, where));
    return Value::list(std::move(list));
  }
  if (j.is_object()) {
    Dict dict;
    for (const auto& [k, v] : j.items()) dict.items.emplace_back(k, convert(v, depth + 1, where));
    return Value::dict(std::move(dict));
  }
  return Value::none();
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

void dump(const Value& v, int indent, int depth, std::string& out) {
  const bool lines = indent >= 0;
  const auto line = [&](int d) {
    if (lines) out += '\n' + std::string(static_cast<size_t>(indent * d), ' ');
  };
  const char* const comma = lines ? "," : ", ";
  if (v.is_none()) {
    out += "null";
  } else if (const bool* b = v.as<bool>()) {
    out += *b ? "true" : "false";
  } else if (const Text* t = v.as_text()) {
    out += quoted(t->bytes);
  } else if (const List* l = v.as_list()) {
    if (l->empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < l->size(); ++i) {
      if (i > 0) out += comma;
      line(depth + 1);
      dump((*l)[i], indent, depth + 1, out);
    }
    line(depth);
    out += ']';
  } else if (const Dict* d = v.as_dict()) {
    if (d->items.empty()) {
      out += "{}";
      return;
    }
    out += '{';
    for (size_t i = 0; i < d->items.size(); ++i) {
      if (i > 0) out += comma;
      line(depth + 1);
      out += quoted(d->items[i].first) + ": ";
      dump(d->items[i].second, indent, depth + 1, out);
    }
    line(depth);
    out += '}';
  } else if (v.is_number()) {
    out += to_text(v).bytes;
  } else {
    throw TypeError{fmt::format("{} has no JSON", v.type_name())};
  }
}

}  // namespace

std::string to_json(const Value& value, int indent) {
  std::string out;
  dump(value, indent, 0, out);
  return out;
}

Value from_json(const std::string& json, const std::string& where) {
  try {
    return convert(Json::parse(json), 0, where);
  } catch (const Json::exception& e) {
    throw_user("{}: {}", where, e.what());
  }
}

}  // namespace pivot::chat::jinja
