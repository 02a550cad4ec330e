#include "data/chat/jinja/lexer.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot::chat::jinja {

void fail_at(int line, const std::string& what) {
  throw_user("chat template, line {}: {}", line, what);
}

namespace {

using Kind = Token::Kind;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    add(Kind::End, "");
    return std::move(tokens_);
  }

 private:
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  bool here(std::string_view what) const { return source_.compare(at_, what.size(), what) == 0; }
  void advance(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(at_ + count),
                                         '\n'));
    at_ += count;
  }

  // Text up to the next tag, then the tag.
  void text() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        tag = source_.size();
        break;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    std::string text = source_.substr(at_, tag - at_);
    const bool any_tag = tag < source_.size();
    const char kind = any_tag ? source_[tag + 1] : ' ';
    const char sign = any_tag && tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (sign == '-' && any_tag) {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if ((kind == '%' || kind == '#') && sign != '+') {
      strip_line_start(text);
    }
    const int line = line_;
    advance(tag - at_);
    if (!text.empty()) tokens_.push_back({Kind::Text, std::move(text), line});
    if (!any_tag) return;
    if (kind == '#') return comment();
    const bool marked = sign == '-' || (sign == '+' && kind == '%');
    advance(marked ? 3 : 2);
    if (kind == '%' && raw()) return;
    add(kind == '{' ? Kind::OutputBegin : Kind::BlockBegin, "");
    inside(kind == '{' ? "}}" : "%}", kind == '{' ? Kind::OutputEnd : Kind::BlockEnd);
  }

  // lstrip_blocks: white space between the line's start and a block goes.
  void strip_line_start(std::string& text) const {
    size_t end = text.size();
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
    const bool line_start = end > 0 ? text[end - 1] == '\n' : at_ == 0 || source_[at_ - 1] == '\n';
    if (line_start) text.resize(end);
  }

  // trim_blocks, or -%}: what follows a tag. `mark` is the character before its end.
  void after_tag(char mark, bool block) {
    if (mark == '-') {
      size_t end = at_;
      while (end < source_.size() && is_space(source_[end])) ++end;
      advance(end - at_);
    } else if (block && mark != '+' && at_ < source_.size() && source_[at_] == '\n') {
      advance(1);
    }
  }

  void comment() {
    const size_t end = source_.find("#}", at_ + 2);
    if (end == std::string::npos) fail_at(line_, "the comment is not closed by #}");
    const char mark = end > at_ + 2 ? source_[end - 1] : ' ';
    advance(end + 2 - at_);
    after_tag(mark, true);
  }

  // {% raw %} ... {% endraw %}
  bool raw() {
    size_t at = at_;
    const auto skip = [&] {
      while (at < source_.size() && is_space(source_[at])) ++at;
    };
    skip();
    if (source_.compare(at, 3, "raw") != 0) return false;
    at += 3;
    skip();
    const bool minus = at < source_.size() && source_[at] == '-';
    if (minus) ++at;
    if (source_.compare(at, 2, "%}") != 0) return false;
    advance(at + 2 - at_);
    after_tag(minus ? '-' : ' ', true);
    for (size_t end = source_.find("{%", at_); end != std::string::npos;
         end = source_.find("{%", end + 2)) {
      at = end + 2;
      const bool strip = at < source_.size() && source_[at] == '-';
      if (strip) ++at;
      skip();
      if (source_.compare(at, 6, "endraw") != 0) continue;
      at += 6;
      skip();
      const char mark = at < source_.size() ? source_[at] : ' ';
      if (mark == '-') ++at;
      if (source_.compare(at, 2, "%}") != 0) continue;
      std::string text = source_.substr(at_, end - at_);
      if (strip) {
        while (!text.empty() && is_space(text.back())) text.pop_back();
      } else {
        strip_line_start(text);
      }
      add(Kind::Text, std::move(text));
      advance(at + 2 - at_);
      after_tag(mark, true);
      return true;
    }
    fail_at(line_, "{% raw %} is not closed by {% endraw %}");
  }

  void inside(std::string_view end, Kind end_kind) {
    int depth = 0;  // of braces: }} may close two dicts
    for (;;) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(1);
      if (at_ >= source_.size()) fail_at(line_, fmt::format("the tag is not closed by {}", end));
      const bool marked =
          (source_[at_] == '-' || source_[at_] == '+') && source_.compare(at_ + 1, 2, end) == 0;
      if (depth == 0 && (here(end) || marked)) {
        const char mark = marked ? source_[at_] : ' ';
        add(end_kind, "");
        advance(marked ? 3 : 2);
        after_tag(mark, end_kind == Kind::BlockEnd);
        return;
      }
      if (here("{")) ++depth;
      if (here("}")) --depth;
      token();
    }
  }

  void token() {
    const char c = source_[at_];
    if (begins_name(c)) return name();
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    static constexpr std::string_view kSigns[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                                  "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                                  "]",  "{",  "}",  ",",  ".",  ":",  "|"};
    for (const std::string_view sign : kSigns) {
      if (!here(sign)) continue;
      add(Kind::Sign, std::string(sign));
      advance(sign.size());
      return;
    }
    fail_at(line_, fmt::format("'{}' has no meaning in an expression", c));
  }

  void name() {
    size_t end = at_;
    while (end < source_.size() && (begins_name(source_[end]) || is_digit(source_[end]))) ++end;
    add(Kind::Name, source_.substr(at_, end - at_));
    advance(end - at_);
  }

  void number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-'))
        ++exponent;
      if (exponent < source_.size() && is_digit(source_[exponent])) {
        real = true;
        end = exponent;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (!real && text.size() > 18) fail_at(line_, "the number is too large");
    add(real ? Kind::Float : Kind::Integer, std::move(text));
    advance(end - at_);
  }

  void string(char quote) {
    std::string value;
    const int line = line_;
    size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\' || i + 1 >= source_.size()) {
        value += source_[i];
        continue;
      }
      escape(++i, value);
    }
    if (i >= source_.size()) fail_at(line, "the string is not closed");
    tokens_.push_back({Kind::String, std::move(value), line});
    advance(i + 1 - at_);
  }

  // The escape whose letter is at `i`; leaves i at its last character.
  void escape(size_t& i, std::string& value) const {
    const char c = source_[i];
    switch (c) {
      case 'n':
        value += '\n';
        return;
      case 't':
        value += '\t';
        return;
      case 'r':
        value += '\r';
        return;
      case 'b':
        value += '\b';
        return;
      case 'f':
        value += '\f';
        return;
      case 'v':
        value += '\v';
        return;
      case 'a':
        value += '\a';
        return;
      case '0':
        value += '\0';
        return;
      case '\n':
        return;
      case 'x':
        return code(i, 2, value);
      case 'u':
        return code(i, 4, value);
      case 'U':
        return code(i, 8, value);
      case '\\':
      case '\'':
      case '"':
        value += c;
        return;
      default:
        value += '\\';
        value += c;  // as Python
    }
  }

  void code(size_t& i, size_t digits, std::string& value) const {
    unsigned c = 0;
    for (size_t d = 0; d < digits; ++d) {
      const char h = i + 1 < source_.size() ? source_[++i] : ' ';
      const unsigned v = is_digit(h)            ? static_cast<unsigned>(h - '0')
                         : h >= 'a' && h <= 'f' ? static_cast<unsigned>(h - 'a') + 10
                         : h >= 'A' && h <= 'F' ? static_cast<unsigned>(h - 'A') + 10
                                                : 99U;
      if (v == 99 || c > 0x10FFFF) fail_at(line_, "the escape of the string is no character");
      c = c * 16 + v;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
      fail_at(line_, "the escape of the string is no character");
    const auto byte = [&](unsigned b) { value += static_cast<char>(b); };
    if (c < 0x80) {
      byte(c);
    } else if (c < 0x800) {
      byte(0xC0 | c >> 6), byte(0x80 | (c & 63));
    } else if (c < 0x10000) {
      byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63));
    } else {
      byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)),
          byte(0x80 | (c & 63));
    }
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_source(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {  // \r\n and \r are line ends, as for Jinja
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();  // keep_trailing_newline=False
  return Lexer(std::move(text)).run();
}

}  // namespace pivot::chat::jinja
