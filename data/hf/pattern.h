#pragma once
/// {"String": "..."} or {"Regex": "..."} of tokenizer.json.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/hf/json.h"
#include "data/hf/matcher.h"
#include "data/hf/regex.h"

namespace pivot::hf {

class Pattern {
 public:
  /// Reads the field "pattern" of `fields`.
  explicit Pattern(const Fields& fields);
  /// The fast matcher's, whatever the file says otherwise.
  explicit Pattern(KnownPattern known) : known_(known) {}

  /// Appends the parts of `text`, which cover it, with `base` added to all positions.
  void split(std::string_view text, uint32_t base, std::vector<Part>& parts) const;
  /// Set when the pattern's matches cover every text and a hand-written matcher finds them.
  std::optional<KnownPattern> known() const { return known_; }

 private:
  std::string literal_;
  std::optional<Regex> regex_;
  std::optional<KnownPattern> known_;
};

}  // namespace pivot::hf
