#pragma once
/// Which bytes of a rendered conversation the assistant said.

#include <string>
#include <string_view>
#include <vector>

#include "data/chat/conversation.h"
#include "data/chat/jinja/renderer.h"
#include "data/chat/template.h"

namespace pivot::chat {

/// Length of text that ends a turn at the beginning of `text` ("<|im_end|>", "</s>", `eos`); 0 if
/// there is none.
size_t end_of_turn_at(std::string_view text, std::string_view eos);

/// Fills `out.learnt`, `out.content` and `out.open` from where `text` comes from.
void find_spans(const jinja::Output& text, const Conversation& conversation,
                const RenderOptions& options, bool has_generation, Rendered& out);

}  // namespace pivot::chat
