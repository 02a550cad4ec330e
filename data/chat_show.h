#pragma once
/// A conversation as the eye wants it: its text, with what is learnt and the special tokens marked.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/statistics.h"
#include "data/tokenizer.h"

namespace pivot {

/// Neighbouring tokens of one kind. Special tokens stand alone, as they are written.
struct ChatRun {
  std::string text;  // valid UTF-8
  bool learnt = false;
  bool special = false;
  friend bool operator==(const ChatRun&, const ChatRun&) = default;
};

/// `learnt`: 1 for every token to be learnt. A character cut by token borders belongs to the token
/// that ends it.
std::vector<ChatRun> chat_runs(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                               std::span<const uint8_t> learnt);

/// Style::Color: learnt text is bold green, the rest dim, special tokens inverse. Style::Plain:
/// learnt text stands in {+ +}. Control characters other than line ends and tabs are shown as
/// <0x1B>.
std::string show_chat(const std::vector<ChatRun>& runs, Style style);

/// [{"text": ..., "learnt": ..., "special": ...}, ...]
std::string to_json(const std::vector<ChatRun>& runs);

}  // namespace pivot
