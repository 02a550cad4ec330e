#include "data/chat_encode.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot {
namespace {

std::vector<TokenSpan> spans_of(const std::vector<uint8_t>& learnt) {
  std::vector<TokenSpan> spans;
  for (size_t i = 0; i < learnt.size(); ++i) {
    if (learnt[i] == 0) continue;
    const auto at = static_cast<int64_t>(i);
    if (spans.empty() || spans.back().end != at) spans.push_back({at, at});
    spans.back().end = at + 1;
  }
  return spans;
}

void require_one_of(const char* key, const std::string& value,
                    std::initializer_list<const char*> known) {
  std::string list;
  for (const char* k : known) {
    if (value == k) return;
    list += fmt::format("{}{}", list.empty() ? "" : ", ", k);
  }
  throw_user("{} is '{}': one of {}", key, value, list);
}

}  // namespace

void check_chat_options(const ChatDataOptions& o) {
  require_one_of("longer", o.longer, {"drop", "truncate", "refuse"});
  require_one_of("learn", o.learn, {"all", "last"});
}

void learn_last(chat::Conversation& conversation) {
  auto& messages = conversation.messages;
  const auto last = std::find_if(messages.rbegin(), messages.rend(),
                                 [](const auto& m) { return m.role == "assistant"; });
  if (last == messages.rend()) return;
  std::for_each(last + 1, messages.rend(), [](chat::Message& m) { m.learnt = false; });
}

std::string place_of(const chat::Conversation& conversation) {
  return fmt::format("{}:{}", conversation.file, conversation.line);
}

chat::RenderOptions render_options(const ChatDataOptions& options, const Tokenizer& tokenizer) {
  chat::RenderOptions render = chat::render_options(tokenizer);
  if (options.variables.empty()) return render;
  if (!nlohmann::json::parse(options.variables, nullptr, false).is_object()) {
    throw_user("variables is '{}': a JSON object such as {{\"enable_thinking\": false}}",
               options.variables);
  }
  render.extra = options.variables;
  return render;
}

EncodedChat encode_chat(chat::Conversation conversation, const ChatDataOptions& options,
                        const ChatTarget& target, const chat::RenderOptions& render) {
  using Fate = EncodedChat::Fate;
  EncodedChat out;
  const auto& messages = conversation.messages;
  if (std::none_of(messages.begin(), messages.end(),
                   [](const auto& m) { return m.role == "assistant"; })) {
    out.fate = Fate::NoAssistant;
    return out;
  }
  if (options.learn == "last") learn_last(conversation);
  chat::ChatTokens tokens;
  try {
    tokens = chat::tokenize(target.chat_template, conversation, render, target.tokenizer);
  } catch (const UserError& e) {
    out.fate = Fate::Refused;
    out.refusal = e.what();
    return out;
  }
  out.length = static_cast<int64_t>(tokens.ids.size());
  if (target.context > 0 && out.length > target.context) {
    if (options.longer != "truncate") {
      out.fate = Fate::Longer;
      return out;
    }
    out.fate = Fate::Truncated;
    tokens.ids.resize(static_cast<size_t>(target.context));
    tokens.learnt.resize(tokens.ids.size());
  }
  // Nothing comes before the first token that it could be learnt from.
  if (!tokens.learnt.empty()) tokens.learnt.front() = 0;
  out.learnt = spans_of(tokens.learnt);
  for (const TokenSpan span : out.learnt) out.learnt_tokens += span.end - span.begin;
  if (out.learnt_tokens == 0) {
    out.fate = Fate::Masked;
    return out;
  }
  for (const int32_t id : tokens.ids) out.text_bytes += target.tokenizer.token_bytes(id);
  out.ids = std::move(tokens.ids);
  return out;
}

}  // namespace pivot
