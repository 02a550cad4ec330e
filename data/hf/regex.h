#pragma once
/// Patterns of tokenizer.json: literal strings, and regular expressions as Oniguruma (Ruby's
/// syntax) reads them, run by PCRE2.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/hf/text.h"

namespace pivot::hf {

/// A part of a text; the parts of one search cover it in order.
struct Part {
  Range range;
  bool match = false;
};

/// The expression in PCRE2's syntax. Oniguruma's meaning is kept by writing \s, \w and \h out and
/// by adding the characters that older Unicode tables lack to \p{...}. Throws UserError beginning
/// with `where` on constructs whose meaning differs and that no known tokenizer uses (\b, &&, POSIX
/// brackets, ...).
std::string translate_regex(std::string_view pattern, const std::string& where);

class Regex {
 public:
  /// Throws UserError beginning with `where` on a bad expression.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;

  /// Appends the parts of valid UTF-8 `text`, with `base` added to all positions. Throws UserError
  /// when the expression takes unreasonably many steps. From any thread.
  void split(std::string_view text, uint32_t base, std::vector<Part>& parts) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// As Regex::split for a literal; an empty one never matches.
void split_literal(std::string_view literal, std::string_view text, uint32_t base,
                   std::vector<Part>& parts);

}  // namespace pivot::hf
