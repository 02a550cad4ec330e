#pragma once
/// One list per struct of options. A struct names its fields once:
///
///   struct OptimOptions {
///     double lr = 3e-4;
///     template <class V> void visit(V&& v) { v("lr", lr, "peak learning rate"); }
///   };
///
/// and nests others with `v.group("optim", optim)`. From that list come the TOML reader,
/// `key=value` overrides, command-line flags, help texts and the resolved configuration kept in
/// checkpoints.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/rational.h"

namespace pivot {

/// Seconds, written "90s", "5m", "2h".
struct Duration {
  double seconds = 0;
  friend bool operator==(const Duration&, const Duration&) = default;
};

/// One field of an options struct, reached through text. Valid as long as the struct lives.
struct OptionField {
  std::string key;   // dotted: "optim.lr"
  std::string type;  // for help: "number", "count", "text", ...
  std::string doc;
  std::function<void(std::string_view)> parse;  // throws UserError without naming the key
  std::function<std::string()> print;           // text that parses back to the same value
  bool quoted = false;                          // print() is text in TOML
  bool list = false;                            // several values, comma separated
};

/// Text forms of the supported types. A list is comma separated.
void parse_option(std::string_view text, bool& value);
void parse_option(std::string_view text, int& value);
void parse_option(std::string_view text, int64_t& value);
void parse_option(std::string_view text, uint64_t& value);
void parse_option(std::string_view text, double& value);
void parse_option(std::string_view text, float& value);
void parse_option(std::string_view text, std::string& value);
void parse_option(std::string_view text, Rational& value);
void parse_option(std::string_view text, Duration& value);
void parse_option(std::string_view text, std::vector<std::string>& value);

std::string print_option(bool value);
std::string print_option(int value);
std::string print_option(int64_t value);
std::string print_option(uint64_t value);
std::string print_option(double value);
std::string print_option(float value);
std::string print_option(const std::string& value);
std::string print_option(Rational value);
std::string print_option(Duration value);
std::string print_option(const std::vector<std::string>& value);

template <class T>
struct OptionTraits;
template <>
struct OptionTraits<bool> {
  static constexpr const char* kType = "true|false";
  static constexpr bool kQuoted = false;
};
template <>
struct OptionTraits<int> {
  static constexpr const char* kType = "count";
  static constexpr bool kQuoted = false;
};
template <>
struct OptionTraits<int64_t> : OptionTraits<int> {};
template <>
struct OptionTraits<uint64_t> : OptionTraits<int> {};
template <>
struct OptionTraits<double> {
  static constexpr const char* kType = "number";
  static constexpr bool kQuoted = false;
};
template <>
struct OptionTraits<float> : OptionTraits<double> {};
template <>
struct OptionTraits<std::string> {
  static constexpr const char* kType = "text";
  static constexpr bool kQuoted = true;
};
template <>
struct OptionTraits<Rational> {
  static constexpr const char* kType = "ratio";
  static constexpr bool kQuoted = true;
};
template <>
struct OptionTraits<Duration> {
  static constexpr const char* kType = "duration";
  static constexpr bool kQuoted = true;
};
template <>
struct OptionTraits<std::vector<std::string>> {
  static constexpr const char* kType = "list";
  static constexpr bool kQuoted = true;
};

/// The visitor behind option_fields().
class OptionCollector {
 public:
  OptionCollector(std::vector<OptionField>& fields, std::string prefix)
      : fields_(fields), prefix_(std::move(prefix)) {}

  template <class T>
  void operator()(const char* name, T& value, const char* doc) {
    fields_.push_back({prefix_ + name, OptionTraits<T>::kType, doc,
                       [&value](std::string_view text) { parse_option(text, value); },
                       [&value] { return print_option(value); }, OptionTraits<T>::kQuoted,
                       std::is_same_v<T, std::vector<std::string>>});
  }
  template <class T>
  void group(const char* name, T& options) {
    OptionCollector inner(fields_, prefix_ + name + ".");
    options.visit(inner);
  }

 private:
  std::vector<OptionField>& fields_;
  std::string prefix_;
};

template <class T>
std::vector<OptionField> option_fields(T& options) {
  std::vector<OptionField> fields;
  OptionCollector collector(fields, "");
  options.visit(collector);
  return fields;
}

/// Sets one field. Unknown keys throw UserError naming the nearest known key; `where` starts the
/// message ("configs/tiny.toml", "command line").
void set_option(std::vector<OptionField>& fields, std::string_view key, std::string_view value,
                std::string_view where);

/// "key=value" from the command line.
void set_override(std::vector<OptionField>& fields, std::string_view assignment);

/// Reads a TOML file; a top-level `include = "other.toml"` (relative to the file) is read first.
void load_toml_file(std::vector<OptionField>& fields, const std::string& path);
/// Reads TOML text; `where` names it in messages.
void load_toml_text(std::vector<OptionField>& fields, std::string_view text,
                    const std::string& where);

/// All fields as TOML that load_toml_text() reads back; `comments` adds each field's doc.
enum class TomlComments { None, Docs };
std::string to_toml(const std::vector<OptionField>& fields, TomlComments comments);

/// The candidate with the smallest edit distance to `word` (for "did you mean").
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace pivot
