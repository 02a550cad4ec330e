#include "data/chat/jinja/json.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "data/chat/jinja/builtins.h"
#include "data/chat/jinja/unicode.h"

namespace pivot::chat::jinja {
namespace {

using Json = nlohmann::json;

/// Builds values while nlohmann's parser reads, without a tree in between: order and digits stay.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(Heap& heap, int32_t owner) : heap_(heap), owner_(owner) {}

  bool null() override { return put(none()); }
  bool boolean(bool b) override { return put(jinja::boolean(b)); }
  bool number_integer(int64_t i) override { return put(integer(i)); }
  bool number_unsigned(uint64_t u) override {
    if (u <= static_cast<uint64_t>(INT64_MAX)) return put(integer(static_cast<int64_t>(u)));
    return put_digits(std::to_string(u));
  }
  bool number_float(double d, const std::string& text) override {
    // Integers beyond 64 bits come as floats too; their digits are in `text`.
    if (text.find_first_of(".eE") == std::string::npos) return put_digits(text);
    return put(number(d));
  }
  bool string(std::string& text) override { return put(heap_.text(text, owner_)); }
  bool binary(Json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(handle(Kind::Dict, heap_.make<Dict>())); }
  bool start_array(size_t) override { return open(handle(Kind::List, heap_.make<List>())); }
  bool key(std::string& text) override {
    keys_.back() = heap_.text(text, owner_);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    error_ = fmt::format("bad JSON at byte {}", position);
    return false;
  }

  const std::string& error() const { return error_; }
  const Value& result() const { return result_; }

 private:
  bool put(const Value& value) {
    heap_.charge(2);
    if (open_.empty()) {
      result_ = value;
    } else if (open_.back().is(Kind::Dict)) {
      open_.back().as<Dict>().set(keys_.back(), value);
    } else {
      List& list = open_.back().as<List>();
      list.items.push_back(value);
      list.depth = std::max(list.depth, 1 + depth_of(value));
    }
    return true;
  }
  bool put_digits(std::string digits) {
    BigInt* big = heap_.make<BigInt>();
    big->digits = std::move(digits);
    return put(handle(Kind::BigInt, big));
  }
  bool open(const Value& container) {
    if (open_.size() >= static_cast<size_t>(kDeepest)) {
      error_ = fmt::format("JSON nested more than {} deep", kDeepest);
      return false;
    }
    open_.push_back(container);
    keys_.emplace_back();
    return true;
  }
  bool close() {
    const Value done = open_.back();
    open_.pop_back();
    keys_.pop_back();
    return put(done);
  }

  Heap& heap_;
  int32_t owner_;
  std::vector<Value> open_;
  std::vector<Value> keys_;  // of open_, the key whose value comes next
  Value result_;
  std::string error_;
};

std::string escaped(std::string_view text, bool ensure_ascii) {
  std::string out;
  size_t bytes = 0;
  const auto unit = [&out](uint32_t c) { out += fmt::format("\\u{:04x}", c); };
  for (size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = decode_character(text, at, &bytes);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\f':
        out += "\\f";
        continue;
      case '\b':
        out += "\\b";
        continue;
      default:
        break;
    }
    if (c < 0x20 || (ensure_ascii && c == 0x7F)) {
      unit(c);
    } else if (c < 0x80 || !ensure_ascii) {
      out += text.substr(at, bytes);
    } else if (c < 0x10000) {
      unit(c);
    } else {
      unit(0xD800 + ((c - 0x10000) >> 10));
      unit(0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  }
  return out;
}

class Dumper {
 public:
  Dumper(const DumpOptions& options, TextBuilder& out) : options_(options), out_(out) {}

  void dump(const Value& value) {
    switch (value.kind) {
      case Kind::None:
        out_.append("null", value.owner);
        return;
      case Kind::Bool:
        out_.append(value.boolean ? "true" : "false", value.owner);
        return;
      case Kind::Int:
      case Kind::BigInt:
        print(value, out_);
        return;
      case Kind::Float:
        out_.append(real(value.number), value.owner);
        return;
      case Kind::String:
        text(string_of(value));
        return;
      case Kind::List:
      case Kind::Tuple:
        list(value.as<List>());
        return;
      case Kind::Dict:
        dict(value.as<Dict>());
        return;
      default:
        fail("Object of type {} is not JSON serializable", type_name(value));
    }
  }

 private:
  static std::string real(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return print_float(d);
  }

  // The quotes belong to whom the text belongs to.
  void text(const String& s) {
    const Run first = s.runs.empty() ? Run{} : s.runs.front();
    const Run last = s.runs.empty() ? Run{} : s.runs.back();
    out_.append("\"", first.owner, first.block);
    size_t from = 0;
    for (const Run& run : s.runs) {
      out_.append(
          escaped(std::string_view(s.text).substr(from, run.end - from), options_.ensure_ascii),
          run.owner, run.block);
      from = run.end;
    }
    if (s.runs.empty()) out_.append(escaped(s.text, options_.ensure_ascii));
    out_.append("\"", last.owner, last.block);
  }

  void key(const Value& value) {
    switch (value.kind) {
      case Kind::String:
        text(string_of(value));
        return;
      case Kind::None:
        out_.append("\"null\"");
        return;
      case Kind::Bool:
        out_.append(value.boolean ? "\"true\"" : "\"false\"");
        return;
      case Kind::Int:
        out_.append(fmt::format("\"{}\"", value.integer));
        return;
      case Kind::Float:
        out_.append(fmt::format("\"{}\"", real(value.number)));
        return;
      default:
        fail("keys must be str, int, float, bool or None, not {}", type_name(value));
    }
  }

  void new_line() {
    if (!options_.indented) return;
    out_.append("\n");
    for (int i = 0; i < level_; ++i) out_.append(options_.indent);
  }

  void list(const List& list) {
    if (list.items.empty()) return out_.append("[]");
    out_.append("[");
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.append(options_.item_separator);
      new_line();
      dump(list.items[i]);
    }
    --level_;
    new_line();
    out_.append("]");
  }

  void dict(const Dict& dict) {
    if (dict.entries.empty()) return out_.append("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (options_.sort_keys) {
      for (const auto* e : entries) {
        if (!e->first.is(Kind::String)) fail("tojson: sort_keys needs keys that are strings");
      }
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        return text_of(a->first) < text_of(b->first);
      });
    }
    out_.append("{");
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(options_.item_separator);
      new_line();
      key(entries[i]->first);
      out_.append(options_.key_separator);
      dump(entries[i]->second);
    }
    --level_;
    new_line();
    out_.append("}");
  }

  const DumpOptions& options_;
  TextBuilder& out_;
  int level_ = 0;
};

}  // namespace

Value parse_json(Heap& heap, std::string_view json, int32_t owner) {
  Builder builder(heap, owner);
  if (!Json::sax_parse(json, &builder)) {
    fail("{}", builder.error().empty() ? "bad JSON" : builder.error());
  }
  return builder.result();
}

void dump_json(const Value& value, const DumpOptions& options, TextBuilder& out) {
  Dumper(options, out).dump(value);
}

}  // namespace pivot::chat::jinja
