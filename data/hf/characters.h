#pragma once
/// Characters of valid UTF-8 and the classes that pre-tokenizers ask for.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::hf {

struct Char {
  uint32_t code = 0;
  uint32_t bytes = 1;
};

/// The character at `p`, which is the start of one of valid UTF-8.
inline Char char_at(const char* p) {
  const auto byte = [p](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(p[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}
inline bool begins_char(char c) {
  return (static_cast<uint8_t>(c) & 0xC0) != 0x80;
}
/// The character that ends before `end`, which is not the start of the text.
inline Char char_before(const char* end) {
  const char* p = end - 1;
  while (!begins_char(*p)) --p;
  return char_at(p);
}
void append_char(std::string& text, uint32_t code);

/// What the patterns of GPT-2, Llama-3 and Qwen2 distinguish.
enum class CharKind : uint8_t { Other, Letter, Number, Space, Newline };

/// Classes of all characters in two steps: blocks of 256, equal ones shared.
class CharKinds {
 public:
  CharKind of(uint32_t code) const {
    return static_cast<CharKind>(
        kinds_[static_cast<size_t>(blocks_[code >> 8]) * 256 + (code & 255)]);
  }
  static const CharKinds& get();

 private:
  CharKinds();
  std::vector<uint16_t> blocks_;
  std::vector<uint8_t> kinds_;
};

/// White_Space of Unicode: the same in Rust and in the regex engine.
bool is_space(uint32_t code);
bool is_word(uint32_t code);
/// ASCII punctuation and the general category P.
bool is_punctuation(uint32_t code);
bool is_number(uint32_t code);
bool is_mark(uint32_t code);

/// Printable stand-ins of bytes in the vocabularies of byte-level tokenizers (GPT-2's alphabet):
/// bytes that print stand for themselves, the other 68 for U+0100 onwards.
uint32_t byte_to_char(uint8_t byte);
/// -1 for a character outside that alphabet.
int char_to_byte(uint32_t code);
std::string to_byte_level(std::string_view bytes);
/// False, and nothing appended, when a character of `text` is outside the alphabet.
bool append_from_byte_level(std::string_view text, std::string& bytes);

}  // namespace pivot::hf
