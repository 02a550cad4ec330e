#pragma once
/// Full case mappings that one character for one cannot express.

#include <cstdint>
#include <span>

namespace pivot::chat::jinja {

struct CaseSpecial {
  uint32_t character;
  const char* mapped;  // UTF-8
};

/// Ascending by character.
std::span<const CaseSpecial> upper_specials();

}  // namespace pivot::chat::jinja
