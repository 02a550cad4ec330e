#pragma once
/// UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.

#include <cstddef>
#include <string>
#include <string_view>

namespace pivot {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

/// Bytes of the valid character at `text[at]`; 0 if the bytes there are invalid or cut short.
size_t utf8_length(std::string_view text, size_t at);

/// Offset of the first byte that is not part of a valid character; npos if all are.
size_t find_invalid_utf8(std::string_view text);

/// Bytes of the maximal invalid part at `text[at]`, which find_invalid_utf8() found.
size_t invalid_utf8_length(std::string_view text, size_t at);

/// Bytes at the end of `text` that begin a character and could be completed by more bytes (0 to 3).
size_t incomplete_utf8_tail(std::string_view text);

/// Each maximal invalid part replaced by U+FFFD; `*replaced` counts them.
std::string replace_invalid_utf8(std::string_view text, size_t* replaced);

}  // namespace pivot
