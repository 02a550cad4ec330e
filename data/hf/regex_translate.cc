#include <optional>

#include "data/hf/regex.h"
#include "data/hf/unicode_tables.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

constexpr std::string_view kSpaces =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

/// One pass over a pattern.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where)
      : rest_(pattern), whole_(pattern), where_(where) {}

  std::string run() {
    while (!rest_.empty()) {
      const char c = rest_[0];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_char(c);
      } else if (c == '[') {
        open_class();
      } else if (rest_.starts_with("(?") || rest_.starts_with("(*")) {
        group();
      } else {
        if (rest_.starts_with("}+")) check_interval();
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw_user("{}: {} in the regular expression '{}' is not supported", where_, what, whole_);
  }
  void copy(size_t n) {
    out_.append(rest_.substr(0, n));
    rest_.remove_prefix(n);
  }
  void put(std::string_view text, size_t consumed) {
    out_.append(text);
    rest_.remove_prefix(consumed);
  }

  /// In Ruby {1,3}+ repeats what {1,3} repeats; in PCRE2 it is possessive.
  void check_interval() const {
    const size_t open = out_.find_last_of('{');
    if (open == std::string::npos) return;
    const std::string_view inside = std::string_view(out_).substr(open + 1);
    if (!inside.empty() && inside.find_first_not_of("0123456789,") == std::string_view::npos) {
      refuse("'}+'");
    }
  }

  void open_class() {
    in_class_ = true;
    copy(rest_.starts_with("[^") ? 2 : 1);
    if (rest_.starts_with("]")) put("\\]", 1);  // a literal one in both, spelt safely
  }

  void class_char(char c) {
    if (c == '[') refuse("a bracket inside a class");
    if (rest_.starts_with("&&")) refuse("'&&'");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void group() {
    if (rest_[1] == '*') refuse("'(*'");
    if (rest_.starts_with("(?#") || rest_.starts_with("(?<") || rest_.starts_with("(?P") ||
        rest_.starts_with("(?:") || rest_.starts_with("(?=") || rest_.starts_with("(?!") ||
        rest_.starts_with("(?>")) {
      copy(2);
      return;
    }
    copy(2);
    while (!rest_.empty() && rest_[0] != ':' && rest_[0] != ')') {
      if (rest_[0] == 'm') {
        put("s", 1);  // Ruby's name for "the dot matches line ends"
      } else if (rest_[0] == 'i' || rest_[0] == 'x' || rest_[0] == '-') {
        copy(1);
      } else {
        refuse("a group '(?" + std::string(rest_.substr(0, 1)) + "'");
      }
    }
  }

  void escape() {
    if (rest_.size() < 2) refuse("a backslash at the end");
    switch (rest_[1]) {
      case 's':
      case 'S':
        return class_escape(kSpaces, rest_[1] == 'S');
      case 'h':
      case 'H':
        return class_escape(kHexDigits, rest_[1] == 'H');
      case 'w':
        return put(word(), 2);
      case 'W':
        if (in_class_) refuse("\\W in a class");
        return put("[^" + word_members() + "]", 2);
      case 'p':
      case 'P':
        return property();
      case 'u':
        return unicode_escape();
      case 'd':
        return put(in_class_ ? members("Nd") : "[" + members("Nd") + "]", 2);
      case 'D':
        if (in_class_) refuse("\\D in a class");
        return put("[^" + members("Nd") + "]", 2);
      default:
        break;
    }
    const bool letter =
        (rest_[1] >= 'a' && rest_[1] <= 'z') || (rest_[1] >= 'A' && rest_[1] <= 'Z');
    constexpr std::string_view kSame = "nrtfaexzAZ";
    if (letter && kSame.find(rest_[1]) == std::string_view::npos) {
      refuse("\\" + std::string(1, rest_[1]));
    }
    copy(2);
  }

  void class_escape(std::string_view members, bool negated) {
    if (in_class_ && negated) refuse("a negated class inside a class");
    if (in_class_) return put(members, 2);
    put((negated ? "[^" : "[") + std::string(members) + "]", 2);
  }

  static std::string word_members() {
    std::string all;
    for (const CharRange& r : word_ranges()) {
      uint32_t first = r.first;
      for (const CharRange& gap : no_regex_word_ranges()) {
        if (gap.first < first || gap.last > r.last) continue;
        if (gap.first > first) all += range_text(first, gap.first - 1);
        first = gap.last + 1;
      }
      if (first <= r.last) all += range_text(first, r.last);
    }
    for (const CharRange& r : only_regex_word_ranges()) all += range_text(r.first, r.last);
    return all;
  }
  std::string word() const { return in_class_ ? word_members() : "[" + word_members() + "]"; }

  static std::string range_text(uint32_t first, uint32_t last) {
    if (first == last) return fmt::format("\\x{{{:x}}}", first);
    return fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
  }

  /// Contents of a class for a property: PCRE2's own and what came after its Unicode.
  static std::string members(std::string_view name) {
    std::string text =
        name.size() <= 2 ? fmt::format("\\p{{{}}}", name) : fmt::format("\\p{{sc:{}}}", name);
    for (const NewMember& m : new_members()) {
      const std::string_view property = m.property;
      if (property == name ||
          (name.size() == 1 && property.size() == 2 && property[0] == name[0])) {
        text += range_text(m.first, m.last);
      }
    }
    return text;
  }

  static bool known_property(std::string_view name) {
    constexpr std::string_view kNames =
        " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C "
        "Cc "
        "Cf Arabic Cyrillic Devanagari Greek Han Hangul Hebrew Hiragana Katakana Latin Thai ";
    return !name.empty() && name.find(' ') == std::string_view::npos &&
           kNames.find(" " + std::string(name) + " ") != std::string_view::npos;
  }

  void property() {
    bool negated = rest_[1] == 'P';
    if (rest_.size() < 3 || rest_[2] != '{') refuse("\\p without braces");
    const size_t end = rest_.find('}');
    if (end == std::string_view::npos) refuse("\\p{ without an end");
    std::string_view name = rest_.substr(3, end - 3);
    if (name.starts_with("^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (!known_property(name)) refuse("the property \\p{" + std::string(name) + "}");
    class_escape_all(members(name), negated, end + 1);
  }

  void class_escape_all(const std::string& inside, bool negated, size_t consumed) {
    if (in_class_ && negated) refuse("a negated property inside a class");
    if (in_class_) return put(inside, consumed);
    put((negated ? "[^" : "[") + inside + "]", consumed);
  }

  void unicode_escape() {
    const std::string_view digits = rest_.substr(2, 4);
    if (digits.size() < 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      refuse("\\u without four hexadecimal digits");
    }
    put(fmt::format("\\x{{{}}}", digits), 6);
  }

  std::string_view rest_, whole_;
  const std::string& where_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

std::string translate_regex(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).run();
}

}  // namespace pivot::hf
