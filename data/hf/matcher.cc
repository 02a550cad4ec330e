#include "data/hf/matcher.h"

#include <algorithm>

#include "data/hf/characters.h"

namespace pivot::hf {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr KnownPattern kAll[] = {KnownPattern::Gpt2, KnownPattern::Llama3, KnownPattern::Qwen2};

bool spaces(CharKind kind) {
  return kind == CharKind::Space || kind == CharKind::Newline;
}

/// Reads a text class by class.
class Scanner {
 public:
  explicit Scanner(std::string_view text)
      : kinds_(CharKinds::get()), begin_(text.data()), end_(begin_ + text.size()) {}

  bool at_end(const char* p) const { return p == end_; }
  CharKind kind(const char* p) const { return kinds_.of(char_at(p).code); }
  /// Past the characters of this kind, at most `most` of them.
  const char* run(const char* p, CharKind kind, int64_t most = INT64_MAX) const {
    for (; p < end_ && most > 0; --most) {
      const Char c = char_at(p);
      if (kinds_.of(c.code) != kind) break;
      p += c.bytes;
    }
    return p;
  }
  /// Past "'s", "'re" and their like (either case with `fold`, where U+017F is an s, too); `p` if
  /// none starts there.
  const char* contraction(const char* p, bool fold) const {
    if (*p != '\'' || p + 1 == end_) return p;
    const auto letter = [&](const char* at) -> char {
      if (at >= end_) return 0;
      return fold && *at >= 'A' && *at <= 'Z' ? static_cast<char>(*at + 32) : *at;
    };
    const char a = letter(p + 1);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
    const char b = letter(p + 2);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
    if (fold && a == '\xC5' && b == '\xBF') return p + 3;
    return p;
  }
  /// `\s+(?!\S)|\s+`, or with `lines` `\s*[\r\n]+` before these, at white space.
  const char* white(const char* p, bool lines) const {
    const char* after_newline = nullptr;
    const char* last = p;  // the last character of the run
    const char* q = p;
    while (q < end_) {
      const Char c = char_at(q);
      const CharKind kind = kinds_.of(c.code);
      if (!spaces(kind)) break;
      last = q;
      q += c.bytes;
      if (kind == CharKind::Newline) after_newline = q;
    }
    if (lines && after_newline != nullptr) return after_newline;
    return q == end_ || last == p ? q : last;
  }

  const char* gpt2(const char* p) const {
    if (const char* q = contraction(p, false); q != p) return q;
    const char* word = *p == ' ' && p + 1 < end_ ? p + 1 : p;
    const CharKind k = kind(word);
    if (!spaces(k)) return run(word, k);
    return white(p, false);
  }

  /// Llama-3's pattern; Qwen2's with one digit instead of three.
  const char* llama3(const char* p, int digits) const {
    if (const char* q = contraction(p, true); q != p) return q;
    const Char first = char_at(p);
    const CharKind k = kinds_.of(first.code);
    if (k == CharKind::Letter) return run(p + first.bytes, k);
    if (k == CharKind::Number) return run(p, k, digits);
    const char* next = p + first.bytes;
    if (k != CharKind::Newline && next < end_ && kind(next) == CharKind::Letter) {
      return run(next, CharKind::Letter);
    }
    const char* word = *p == ' ' && next < end_ ? next : p;
    if (kind(word) == CharKind::Other) {
      return run(run(word, CharKind::Other), CharKind::Newline);
    }
    return white(p, true);
  }

  template <class Next>
  void pieces(uint32_t base, std::vector<Range>& out, const Next& next) const {
    for (const char* p = begin_; p < end_;) {
      const char* q = next(p);
      out.push_back(
          {base + static_cast<uint32_t>(p - begin_), base + static_cast<uint32_t>(q - begin_)});
      p = q;
    }
  }

 private:
  const CharKinds& kinds_;
  const char* begin_;
  const char* end_;
};

}  // namespace

std::string_view pattern_text(KnownPattern pattern) {
  switch (pattern) {
    case KnownPattern::Gpt2:
      return kGpt2;
    case KnownPattern::Llama3:
      return kLlama3;
    case KnownPattern::Qwen2:
      break;
  }
  return kQwen2;
}

std::optional<KnownPattern> find_known_pattern(std::string_view regex) {
  const auto* found = std::find_if(std::begin(kAll), std::end(kAll),
                                   [&](KnownPattern p) { return pattern_text(p) == regex; });
  if (found == std::end(kAll)) return std::nullopt;
  return *found;
}

void split_known(KnownPattern pattern, std::string_view text, uint32_t base,
                 std::vector<Range>& pieces) {
  const Scanner scanner(text);
  switch (pattern) {
    case KnownPattern::Gpt2:
      return scanner.pieces(base, pieces, [&](const char* p) { return scanner.gpt2(p); });
    case KnownPattern::Llama3:
      return scanner.pieces(base, pieces, [&](const char* p) { return scanner.llama3(p, 3); });
    case KnownPattern::Qwen2:
      return scanner.pieces(base, pieces, [&](const char* p) { return scanner.llama3(p, 1); });
  }
}

}  // namespace pivot::hf
