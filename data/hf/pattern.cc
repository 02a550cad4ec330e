#include "data/hf/pattern.h"

#include <utility>

#include "src/base/check.h"

namespace pivot::hf {

Pattern::Pattern(const Fields& fields) {
  const Fields pattern = fields.object("pattern");
  if (pattern.has("String") == pattern.has("Regex")) {
    throw_user("{}: either 'String' or 'Regex' is needed", pattern.where());
  }
  if (pattern.has("String")) {
    literal_ = pattern.text("String");
    return;
  }
  const std::string regex = pattern.text("Regex");
  known_ = find_known_pattern(regex);
  if (!known_) regex_.emplace(regex, pattern.where());
}

void Pattern::split(std::string_view text, uint32_t base, std::vector<Part>& parts) const {
  if (known_) {
    std::vector<Range> pieces;
    split_known(*known_, text, base, pieces);
    for (const Range& r : pieces) parts.push_back({r, true});
  } else if (regex_) {
    regex_->split(text, base, parts);
  } else {
    split_literal(literal_, text, base, parts);
  }
}

}  // namespace pivot::hf
