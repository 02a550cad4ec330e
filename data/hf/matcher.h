#pragma once
/// The pre-tokenizer patterns that most models use, matched by hand: several times as fast as a
/// compiled regular expression.

#include <optional>
#include <string_view>
#include <vector>

#include "data/hf/text.h"

namespace pivot::hf {

enum class KnownPattern { Gpt2, Llama3, Qwen2 };

std::string_view pattern_text(KnownPattern pattern);
/// The pattern that is spelt exactly like this.
std::optional<KnownPattern> find_known_pattern(std::string_view regex);

/// Appends the matches in valid UTF-8 `text`, with `base` added to all positions; they cover it.
void split_known(KnownPattern pattern, std::string_view text, uint32_t base,
                 std::vector<Range>& pieces);

}  // namespace pivot::hf
