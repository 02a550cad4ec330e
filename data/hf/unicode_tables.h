#pragma once
/// Which characters Hugging Face's `tokenizers` takes for what. Its libraries carry tables of
/// Unicode 9 (normalisation) to 17 (numbers); these are read off the package itself
/// (scripts/unicode_tables.py), so that ids do not depend on the versions of our libraries.

#include <cstdint>
#include <span>

namespace pivot::hf {

struct CharRange {
  uint32_t first, last;  // both belong to it
};
/// A letter whose small form utf8proc may not know.
struct LowerCase {
  uint32_t upper, lower;
};
/// Characters that got a general category or a script after Unicode 14, the oldest PCRE2 in use.
struct NewMember {
  const char* property;  // "Lo", "Han"
  uint32_t first, last;
};

// Ascending ranges.
std::span<const CharRange> letter_ranges();             // \p{L} of Split
std::span<const CharRange> number_ranges();             // \p{N} of Split
std::span<const CharRange> new_number_ranges();         // numeric for Digits only
std::span<const CharRange> word_ranges();               // \w of Whitespace and single_word
std::span<const CharRange> no_regex_word_ranges();      // of these, no \w of Split
std::span<const CharRange> only_regex_word_ranges();    // \w of Split and not of these
std::span<const CharRange> punctuation_ranges();        // of Punctuation
std::span<const CharRange> mark_ranges();               // of StripAccents
std::span<const CharRange> composes_backward_ranges();  // class 0, second of a composition
/// Normalised by newer Unicode, plain characters for the package; and what those are composed from.
std::span<const CharRange> not_normalized_ranges();
std::span<const LowerCase> new_lower_case();
std::span<const NewMember> new_members();

}  // namespace pivot::hf
