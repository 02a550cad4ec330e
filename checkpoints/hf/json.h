#pragma once
/// JSON of unknown origin: bounded in size and depth, read with messages that name file and key.

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace pivot {

using Json = nlohmann::ordered_json;

/// Throws UserError starting with `where` on text that is no JSON object, is nested deeper than any
/// configuration, or is longer than `longest` bytes (a tree takes many times the text's memory).
Json parse_json_object(std::string_view text, size_t longest, const std::string& where);

/// Members of an object; null counts as absent.
class JsonReader {
 public:
  JsonReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const;
  /// Null where absent.
  const Json* find(const char* key) const;
  /// Throw UserError where the member is of another type, or outside [1, 2^24].
  std::optional<int64_t> count(const char* key) const;
  int64_t required_count(const char* key) const;
  std::optional<double> number(const char* key) const;
  std::optional<bool> flag(const char* key) const;
  std::optional<std::string> text(const char* key) const;
  const std::string& where() const { return where_; }
  /// The value as people read it, cut if long.
  static std::string shown(const Json& value);

 private:
  [[noreturn]] void wrong(const char* key, const char* what) const;

  const Json& object_;
  std::string where_;
};

}  // namespace pivot
