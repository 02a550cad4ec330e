#pragma once
/// Characters as Python's str sees them.

#include <cstdint>
#include <string>
#include <string_view>

namespace pivot::chat::jinja {

/// The character at `at` of valid UTF-8; `*bytes` is its length.
char32_t decode_character(std::string_view text, size_t at, size_t* bytes);
void append_character(std::string& text, char32_t c);

/// str.isspace(), which is also what \s matches.
bool is_space(char32_t c);
/// str.isprintable().
bool is_printable(char32_t c);
bool is_ascii(std::string_view text);

int64_t count_characters(std::string_view text);
/// Byte offset of character number `index`; text.size() when there are fewer.
size_t byte_offset(std::string_view text, int64_t index);

/// Upper and lower case of one character (full mappings: "ß" gives "SS"), appended.
void append_upper(std::string& out, char32_t c);
/// Without the rule for a final sigma, which needs its neighbours.
void append_lower(std::string& out, char32_t c);

/// Whitespace at both ends.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

}  // namespace pivot::chat::jinja
