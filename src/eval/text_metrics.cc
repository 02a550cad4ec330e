#include "src/eval/text_metrics.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::eval {
namespace {

// A character of UTF-8 text, or a byte that is none.
struct Character {
  uint32_t code;
  std::string_view bytes;
};

// What invalid bytes are taken for: a letter without case.
constexpr uint32_t kInvalid = 0xFFFFFFFF;

Character character_at(std::string_view text, size_t at) {
  const size_t length = utf8_length(text, at);
  if (length == 0) return {kInvalid, text.substr(at, 1)};
  const std::string_view bytes = text.substr(at, length);
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])); };
  uint32_t code = byte(0);
  if (length > 1) code &= 0x7FU >> length;
  for (size_t i = 1; i < length; ++i) code = code << 6U | (byte(i) & 0x3FU);
  return {code, bytes};
}

void append(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  // Lower case is only made up to U+07FF: two bytes.
  out += static_cast<char>(0xC0U | code >> 6U);
  out += static_cast<char>(0x80U | (code & 0x3FU));
}

bool between(uint32_t code, uint32_t first, uint32_t last) {
  return code >= first && code <= last;
}

// Simple lower case of Unicode in the blocks that the header names; the code itself elsewhere.
uint32_t lower(uint32_t c) {
  if (between(c, 'A', 'Z')) return c + 32;
  if (between(c, 0xC0, 0xDE) && c != 0xD7) return c + 32;
  if (c == 0x178) return 0xFF;
  // Pairs of capital and small letters, the capital even, or odd.
  if ((between(c, 0x100, 0x137) && c != 0x130) || between(c, 0x14A, 0x177)) return c | 1U;
  if (between(c, 0x139, 0x148) || between(c, 0x179, 0x17E)) return c + (c & 1U);
  if (c == 0x386) return 0x3AC;
  if (between(c, 0x388, 0x38A)) return c + 37;
  if (c == 0x38C) return 0x3CC;
  if (c == 0x38E || c == 0x38F) return c + 63;
  if (between(c, 0x391, 0x3AB) && c != 0x3A2) return c + 32;
  if (between(c, 0x400, 0x40F)) return c + 80;
  if (between(c, 0x410, 0x42F)) return c + 32;
  if (between(c, 0x460, 0x481) || between(c, 0x48A, 0x4BF) || between(c, 0x4D0, 0x52F)) {
    return c | 1U;
  }
  if (c == 0x4C0) return 0x4CF;
  if (between(c, 0x4C1, 0x4CE)) return c + (c & 1U);
  return c;
}

bool is_punctuation(uint32_t c) {
  return between(c, '!', '/') || between(c, ':', '@') || between(c, '[', '`') ||
         between(c, '{', '~');
}

// White_Space of Unicode, and the four separators that Python splits at, too.
bool is_space(uint32_t c) {
  return between(c, 0x09, 0x0D) || between(c, 0x1C, 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || between(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

// Whether an article may end beside it: signs that are neither letters nor digits. Of the code
// points beyond ASCII those that texts have beside words: Latin-1 signs, combining marks,
// typographic punctuation, arrows and symbols, punctuation of Chinese and Japanese.
bool parts_words(uint32_t c) {
  if (c < 0x80) return !between(c, '0', '9') && !between(c, 'A', 'Z') && !between(c, 'a', 'z');
  const bool latin_sign = between(c, 0x80, 0xBF) && c != 0xAA && c != 0xB5 && c != 0xBA &&
                          !between(c, 0xB2, 0xB3) && c != 0xB9 && !between(c, 0xBC, 0xBE);
  return latin_sign || c == 0xD7 || c == 0xF7 || between(c, 0x300, 0x36F) ||
         between(c, 0x2000, 0x206F) || between(c, 0x20A0, 0x20CF) || between(c, 0x2190, 0x23FF) ||
         between(c, 0x2500, 0x2775) || between(c, 0x3000, 0x3004) || between(c, 0x3008, 0x3020) ||
         between(c, 0xFF01, 0xFF0F);
}

std::string lower_without_punctuation(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.bytes.size();
    if (c.code != kInvalid && is_punctuation(c.code)) continue;
    const uint32_t small = lower(c.code);
    if (small == c.code) {
      out += c.bytes;
    } else {
      append(out, small);
    }
  }
  return out;
}

// "a", "an", "the" between characters that part words, replaced by a space.
std::string without_articles(const std::string& text) {
  std::string out, word;
  const auto end_word = [&] {
    out += word == "a" || word == "an" || word == "the" ? " " : word;
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Character c = character_at(text, at);
    at += c.bytes.size();
    if (c.code != kInvalid && parts_words(c.code)) {
      end_word();
      out += c.bytes;
    } else {
      word += c.bytes;
    }
  }
  end_word();
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (size_t at = 0; at <= text.size();) {
    const Character c = at < text.size() ? character_at(text, at) : Character{' ', " "};
    at += c.bytes.size();
    if (!is_space(c.code)) {
      word += c.bytes;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

double token_f1(const std::vector<std::string>& text, const std::vector<std::string>& answer) {
  std::map<std::string, int64_t> left;
  for (const std::string& word : answer) ++left[word];
  int64_t shared = 0;
  for (const std::string& word : text) {
    const auto it = left.find(word);
    if (it == left.end() || it->second == 0) continue;
    --it->second;
    ++shared;
  }
  // 2 P R / (P + R) with P = shared / text, R = shared / answer.
  return shared == 0
             ? 0
             : 2.0 * static_cast<double>(shared) / static_cast<double>(text.size() + answer.size());
}

}  // namespace

std::string normalise_answer(std::string_view text) {
  std::string out;
  for (const std::string& word : words_of(without_articles(lower_without_punctuation(text)))) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

TextScore score_text(std::string_view text, std::span<const std::string> answers) {
  PIVOT_CHECK(!answers.empty(), "no answer to compare with");
  const std::string found = normalise_answer(text);
  const std::vector<std::string> words = words_of(found);
  TextScore best;
  for (const std::string& answer : answers) {
    const std::string wanted = normalise_answer(answer);
    best.exact = best.exact || found == wanted;
    best.substring = best.substring || found.find(wanted) != std::string::npos;
    best.f1 = std::max(best.f1, token_f1(words, words_of(wanted)));
  }
  return best;
}

}  // namespace pivot::eval
