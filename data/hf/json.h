#pragma once
/// Strict access to the objects of tokenizer.json.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace pivot::hf {

/// An object and what to call it in messages. A field of the wrong type throws UserError.
class Fields {
 public:
  /// Throws UserError when `value` is no object.
  Fields(const nlohmann::json& value, std::string where);

  const std::string& where() const { return where_; }
  bool has(const char* key) const;       // present and not null
  bool mentions(const char* key) const;  // present, null or not
  /// The field, null when it is missing.
  const nlohmann::json& get(const char* key) const;
  bool flag(const char* key, bool absent) const;
  std::string text(const char* key) const;
  std::string text(const char* key, const std::string& absent) const;
  int64_t number(const char* key, int64_t least, int64_t most) const;
  Fields object(const char* key) const;
  /// The elements of an array of objects, called "where: key 3".
  std::vector<Fields> objects(const char* key) const;

 private:
  [[noreturn]] void fail(const char* key, const char* needed) const;
  const nlohmann::json* value_;
  std::string where_;
};

/// A tokenizer.json, its two long lists taken out of the tree. Valid UTF-8 throughout.
struct TokenizerFile {
  TokenizerFile();
  ~TokenizerFile();
  TokenizerFile(TokenizerFile&&) noexcept;

  std::unique_ptr<nlohmann::json> rest;  // without model.vocab and model.merges
  enum class Vocab { Absent, Ids, Scores } form = Vocab::Absent;
  std::vector<std::string> tokens;
  std::vector<int64_t> ids;    // Ids: one a token, as given
  std::vector<double> scores;  // Scores: one a token
  bool has_merges = false;
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Throws UserError beginning with `where` on bad JSON, keys that come twice, deep nesting, lists
/// of another shape. Memory is a small multiple of `bytes`.
TokenizerFile read_tokenizer_file(std::string_view bytes, const std::string& where);

/// Any JSON object, as strict. Throws UserError beginning with `where`.
std::unique_ptr<nlohmann::json> read_json_object(std::string_view bytes, const std::string& where);

}  // namespace pivot::hf
