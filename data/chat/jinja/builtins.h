#pragma once
/// Filters, tests, methods and functions of templates. What is not listed here is refused by name
/// when a template is parsed.

#include <span>
#include <string_view>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

class Renderer;

/// Parameters of a builtin, filled from positional and named arguments.
class Bound {
 public:
  Bound(std::string_view builtin, const Args& args, std::span<const std::string_view> names);
  bool has(size_t i) const { return given_[i] != nullptr; }
  /// Fails where the argument is missing.
  const Value& at(size_t i) const;
  Value or_else(size_t i, const Value& fallback) const { return has(i) ? *given_[i] : fallback; }

 private:
  std::string_view builtin_;
  std::span<const std::string_view> names_;
  std::vector<const Value*> given_;
};

/// `self` is what stands before "|", "is" or ".".
struct Builtin {
  std::string_view name;
  Value (*call)(Renderer& renderer, const Value& self, const Args& args);
};

/// Null where there is none of this name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);

/// Whether any type has a method of this name.
bool is_method_name(std::string_view name);
/// Whether values of this kind have this method.
bool has_method(const Value& value, std::string_view name);
Value call_method(Renderer& renderer, const Value& self, std::string_view name, const Args& args);

/// An index or count; fails where the value is no integer.
int64_t to_index(const Value& value, std::string_view what);

/// json.dumps() as transformers' filter tojson calls it. Text keeps its owner.
struct DumpOptions {
  bool ensure_ascii = false;
  bool indented = false;
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
void dump_json(const Value& value, const DumpOptions& options, TextBuilder& out);

}  // namespace pivot::chat::jinja
