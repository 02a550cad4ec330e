#pragma once
/// Jinja source to tokens, with trim_blocks and lstrip_blocks as transformers sets them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pivot::chat::jinja {

struct Token {
  enum class Kind {
    Text,
    OutputBegin,
    OutputEnd,
    BlockBegin,
    BlockEnd,
    Name,
    String,
    Integer,
    Float,
    Sign,
    End
  };
  Kind kind;
  std::string text;  // of a String: its value
  int line;

  bool is(std::string_view sign) const { return kind == Kind::Sign && text == sign; }
  bool is_name(std::string_view name) const { return kind == Kind::Name && text == name; }
};

/// Ends with a token of kind End. Throws UserError naming the line.
std::vector<Token> tokenize_source(std::string_view source);

/// "template line N: ..."
[[noreturn]] void fail_at(int line, const std::string& what);

}  // namespace pivot::chat::jinja
