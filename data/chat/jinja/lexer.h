#pragma once
/// Template source to tokens, with jinja2's whitespace control (trim_blocks and lstrip_blocks on,
/// as transformers sets them).

#include <string>
#include <string_view>
#include <vector>

namespace pivot::chat::jinja {

enum class TokenKind : unsigned char {
  Data,  // text between tags
  BlockBegin,
  BlockEnd,
  VariableBegin,
  VariableEnd,
  Name,
  Text,  // a string, escapes resolved
  Integer,
  Float,
  Operator,
  End,
};

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;  // numbers without "_"
  int line = 1;
};

/// Throws UserError naming the line.
std::vector<Token> tokenize(std::string_view source);

/// UserError("chat template, line 3: ...").
[[noreturn]] void fail_at(int line, const std::string& what);

}  // namespace pivot::chat::jinja
