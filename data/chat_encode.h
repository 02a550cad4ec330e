#pragma once
/// One conversation on its way into a shard.

#include <cstdint>
#include <string>
#include <vector>

#include "data/chat/template.h"
#include "data/chat_build.h"
#include "data/shard.h"

namespace pivot {

struct EncodedChat {
  enum class Fate { Kept, Truncated, NoAssistant, Masked, Longer, Refused };
  Fate fate = Fate::Kept;
  std::vector<int32_t> ids;       // empty unless kept or truncated
  std::vector<TokenSpan> learnt;  // of ids, ascending
  int64_t learnt_tokens = 0;
  int64_t text_bytes = 0;
  int64_t length = 0;   // tokens before anything was cut off
  std::string refusal;  // what the template said
};

/// Renders, encodes, masks and measures. `options` was checked (check_chat_options).
EncodedChat encode_chat(chat::Conversation conversation, const ChatDataOptions& options,
                        const ChatTarget& target, const chat::RenderOptions& render);

/// What the template gets besides the conversation. Throws UserError when options.variables is no
/// JSON object.
chat::RenderOptions render_options(const ChatDataOptions& options, const Tokenizer& tokenizer);

/// Throws UserError naming the option.
void check_chat_options(const ChatDataOptions& options);

/// Leaves only what the last turn of the assistant says to be learnt.
void learn_last(chat::Conversation& conversation);

/// "user.jsonl:12"
std::string place_of(const chat::Conversation& conversation);

}  // namespace pivot
