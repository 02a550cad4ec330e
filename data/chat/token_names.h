#pragma once
/// Special tokens by their looks, and those a tokenizer's config names.

#include <string>
#include <string_view>

#include "data/tokenizer.h"

namespace pivot::chat {

/// Bytes of the special-token-like text at the start of `text` ("<|im_end|>", "</s>",
/// "<end_of_turn>"), 0 where it begins otherwise.
size_t special_token_at(std::string_view text);

/// What tokenizer_config.json says; "" where it does not.
struct TokenizerConfig {
  std::string chat_template, bos_token, eos_token;
};
/// Throws UserError on JSON that is none.
TokenizerConfig read_tokenizer_config(const std::string& json);

}  // namespace pivot::chat
