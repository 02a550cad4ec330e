#include "data/chat/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "data/chat/jinja/unicode.h"
#include "data/utf8.h"
#include "src/base/check.h"

namespace pivot::chat::jinja {
namespace {

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Line ends become "\n", and one at the very end goes.
std::string normalise(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalise(source)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_root();
    add(TokenKind::End, "");
    return std::move(tokens_);
  }

 private:
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool starts(std::string_view with) const { return text_.substr(at_).starts_with(with); }
  void advance(size_t bytes) {
    line_ +=
        static_cast<int>(std::count(text_.begin() + static_cast<ptrdiff_t>(at_),
                                    text_.begin() + static_cast<ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
    if (bytes > 0) line_starting_ = text_[at_ - 1] == '\n';
  }
  void skip_space() { advance(leading_space(text_.substr(at_))); }

  // Text up to the next tag, and that tag.
  void read_root() {
    size_t tag = at_;
    for (;; ++tag) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
        add_data(text_.size());
        advance(text_.size() - at_);
        return;
      }
      if (text_[tag + 1] == '%' || text_[tag + 1] == '{' || text_[tag + 1] == '#') break;
    }
    const char kind = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    add_data(data_end(tag, sign, kind != '{'));
    advance(tag - at_);
    advance(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') {
      skip_comment();
    } else if (kind == '{') {
      add(TokenKind::VariableBegin, "");
      read_tag("}}");
    } else if (!read_raw()) {
      add(TokenKind::BlockBegin, "");
      read_tag("%}");
    }
  }

  void add_data(size_t end) {
    if (end > at_) add(TokenKind::Data, std::string(text_.substr(at_, end - at_)));
  }

  // Where the text before a tag ends once whitespace control has taken its part.
  size_t data_end(size_t tag, char sign, bool strips_line) const {
    const std::string_view before = text_.substr(at_, tag - at_);
    if (sign == '-') return tag - trailing_space(before);
    if (sign == '+' || !strips_line) return tag;
    const size_t newline = before.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starting_) return tag;
    return leading_space(before.substr(line)) == before.size() - line ? at_ + line : tag;
  }

  // The end of a tag or comment: "-" takes the whitespace after it, else one newline goes but for
  // variables. False if it is not here.
  bool read_end(std::string_view end) {
    const bool variable = end == "}}";
    const bool sign = peek() == '-' || (peek() == '+' && !variable);
    const std::string_view rest = text_.substr(at_);
    if (sign && rest.substr(1).starts_with(end)) {
      const bool strips = peek() == '-';
      advance(1 + end.size());
      if (strips) skip_space();
      return true;
    }
    if (!rest.starts_with(end)) return false;
    advance(end.size());
    if (!variable && peek() == '\n') advance(1);
    return true;
  }

  void skip_comment() {
    const size_t end = text_.find("#}", at_);
    if (end == std::string_view::npos) fail_at(line_, "a comment without its end '#}'");
    const bool sign = end > at_ && (text_[end - 1] == '-' || text_[end - 1] == '+');
    advance(end - at_ - (sign ? 1 : 0));
    read_end("#}");
  }

  // {% raw %}text{% endraw %}, after its "{%". False if this is another tag.
  bool read_raw() {
    const std::string_view rest = text_.substr(at_);
    const size_t space = leading_space(rest);
    if (!rest.substr(space).starts_with("raw")) return false;
    size_t end = space + 3;
    end += leading_space(rest.substr(end));
    const bool strips = rest.substr(end).starts_with("-%}");
    if (!strips && !rest.substr(end).starts_with("%}")) return false;
    advance(end + (strips ? 3 : 2));
    if (strips) skip_space();
    const int line = line_;
    for (size_t tag = text_.find("{%", at_); tag != std::string_view::npos;
         tag = text_.find("{%", tag + 1)) {
      const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
      size_t name = tag + (sign == '-' || sign == '+' ? 3 : 2);
      name += leading_space(text_.substr(name));
      if (!text_.substr(name).starts_with("endraw")) continue;
      name += 6 + leading_space(text_.substr(name + 6));
      const std::string_view close = text_.substr(name);
      if (!close.starts_with("%}") && !close.starts_with("-%}") && !close.starts_with("+%}")) {
        continue;
      }
      add_data(data_end(tag, sign, true));
      advance(name - at_);
      return read_end("%}");
    }
    fail_at(line, "a raw block without 'endraw'");
  }

  void read_tag(std::string_view end) {
    const int line = line_;
    std::string open;  // brackets to be closed
    while (at_ < text_.size()) {
      if (open.empty() && read_end(end)) {
        add(end == "}}" ? TokenKind::VariableEnd : TokenKind::BlockEnd, "");
        return;
      }
      const char c = peek();
      if (const size_t space = leading_space(text_.substr(at_)); space > 0) {
        advance(space);
      } else if (is_digit(c)) {
        read_number();
      } else if (is_name_start(c)) {
        read_name();
      } else if (c == '\'' || c == '"') {
        read_string();
      } else {
        read_operator(open);
      }
    }
    fail_at(line, fmt::format("a tag without its end '{}'", end));
  }

  size_t digits(size_t from) const {
    size_t at = from;
    while (at < text_.size() &&
           (is_digit(text_[at]) ||
            (text_[at] == '_' && at > from && at + 1 < text_.size() && is_digit(text_[at + 1])))) {
      ++at;
    }
    return at;
  }

  void read_number() {
    const char mark = peek(1);
    if (peek() == '0' && std::string_view("bBoOxX").find(mark) != std::string_view::npos) {
      fail_at(line_, "binary, octal and hexadecimal numbers are not understood");
    }
    size_t end = digits(at_);
    bool is_float = false;
    // "x.0.5" reads items, it is no number.
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
    if (!after_dot && end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      end = digits(end + 1);
      is_float = true;
    }
    if (!after_dot && end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (exponent < text_.size() && is_digit(text_[exponent])) {
        end = digits(exponent);
        is_float = true;
      }
    }
    std::string number(text_.substr(at_, end - at_));
    std::erase(number, '_');
    if (!is_float && number.size() > 1 && number[0] == '0' &&
        number.find_first_not_of('0') != std::string::npos) {
      fail_at(line_, fmt::format("a number may not begin with 0: {}", number));
    }
    add(is_float ? TokenKind::Float : TokenKind::Integer, number);
    advance(end - at_);
  }

  void read_name() {
    size_t end = at_;
    while (end < text_.size() && (is_name_start(text_[end]) || is_digit(text_[end]))) ++end;
    if (end < text_.size() && static_cast<unsigned char>(text_[end]) >= 0x80) {
      size_t bytes = 0;
      if (!is_space(decode_character(text_, end, &bytes))) {
        fail_at(line_, "names may only have ASCII letters");
      }
    }
    add(TokenKind::Name, std::string(text_.substr(at_, end - at_)));
    advance(end - at_);
  }

  void read_string() {
    const char quote = peek();
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail_at(line_, "a string without its closing quote");
    add(TokenKind::Text, unescape(text_.substr(at_ + 1, end - at_ - 1)));
    advance(end + 1 - at_);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      if (text[at] != '\\') {
        out += text[at++];
        continue;
      }
      at = append_escape(text, at + 1, out);
    }
    return out;
  }

  // The escape after a backslash, as Python's unicode-escape codec reads it.
  size_t append_escape(std::string_view text, size_t at, std::string& out) const {
    static constexpr std::string_view kNames = "\\'\"abfnrtv";
    static constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
    const char c = text[at];
    if (const size_t known = kNames.find(c); known != std::string_view::npos) {
      out += kValues[known];
      return at + 1;
    }
    if (c == '\n') return at + 1;
    if (c == 'x') return append_code(text, at + 1, 2, 16, out);
    if (c == 'u') return append_code(text, at + 1, 4, 16, out);
    if (c == 'U') return append_code(text, at + 1, 8, 16, out);
    if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
      fail_at(line_, fmt::format("the escape '\\{}' is not understood", c == 'N' ? "N" : "..."));
    }
    if (c >= '0' && c <= '7') {
      size_t n = 1;
      while (n < 3 && at + n < text.size() && text[at + n] >= '0' && text[at + n] <= '7') ++n;
      return append_code(text, at, n, 8, out);
    }
    out += '\\';
    out += c;
    return at + 1;
  }

  size_t append_code(std::string_view text, size_t at, size_t digits, int base,
                     std::string& out) const {
    const std::string code(text.substr(std::min(at, text.size()), digits));
    size_t used = 0;
    unsigned long c = 0;
    if (code.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos && !code.empty()) {
      c = std::stoul(code, &used, base);
    }
    if (used != digits || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
      fail_at(line_, fmt::format("'{}' is no character", code));
    }
    append_character(out, static_cast<char32_t>(c));
    return at + digits;
  }

  void read_operator(std::string& open) {
    static constexpr std::array<std::string_view, 6> kLong = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kShort = "+-/*%~[](){}><=.:|,";
    for (const std::string_view op : kLong) {
      if (!starts(op)) continue;
      add(TokenKind::Operator, std::string(op));
      return advance(2);
    }
    const char c = peek();
    if (kShort.find(c) == std::string_view::npos) {
      size_t bytes = 0;
      decode_character(text_, at_, &bytes);
      fail_at(line_, fmt::format("unexpected '{}'", text_.substr(at_, bytes)));
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail_at(line_, fmt::format("unexpected '{}'", c));
      open.pop_back();
    }
    add(TokenKind::Operator, std::string(1, c));
    advance(1);
  }

  std::string source_;
  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was read last ended with a line
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(int line, const std::string& what) {
  throw_user("chat template, line {}: {}", line, what);
}

std::vector<Token> tokenize(std::string_view source) {
  if (const size_t bad = find_invalid_utf8(source); bad != std::string_view::npos) {
    throw_user("chat template: invalid UTF-8 at byte {}", bad);
  }
  return Lexer(source).run();
}

}  // namespace pivot::chat::jinja
