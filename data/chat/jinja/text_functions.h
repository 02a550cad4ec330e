#pragma once
/// Python's str methods on texts that remember where their bytes come from.

#include <cstdint>
#include <string>
#include <string_view>

#include "data/chat/jinja/value.h"

namespace pivot::chat::jinja {

/// The text of a value. Throws TypeError saying that `what` needs one.
const Text& text_of(const Value& v, std::string_view what);

enum Side { kLeft = 1, kRight = 2 };
/// Without the characters of `characters` at its ends; null or None: white space.
Text strip(const Text& t, const Value* characters, int sides);

/// str.split() and its kin; at most `most` cuts where that is not negative.
List split_spaces(const Text& t);
List split(const Text& t, const std::string& separator, int64_t most);
List split_right(const Text& t, const std::string& separator, int64_t most);

Text replace(const Text& t, const Text& from, const Text& to, int64_t most);

enum class Case { Upper, Lower, Title, Capitalize };
/// ASCII only: throws TypeError for other letters.
Text with_case(const Text& t, Case to);

}  // namespace pivot::chat::jinja
