#include "src/decode/turn_end.h"

#include <algorithm>

namespace pivot {
namespace {

// What the template puts behind an answer, without white space around it; "" if nothing.
std::string text_behind_answer(const chat::Template& chat_template, const Tokenizer& tokenizer) {
  const std::string answer = "answer";
  chat::Conversation probe;
  probe.messages.push_back({.role = "user", .content = "question", .extra = ""});
  probe.messages.push_back({.role = "assistant", .content = answer, .extra = ""});
  const chat::Rendered rendered = chat_template.render(probe, chat::render_options(tokenizer));
  if (rendered.learnt.empty()) return "";
  const chat::TextSpan span = rendered.learnt.back();
  const std::string learnt = rendered.text.substr(static_cast<size_t>(span.begin),
                                                  static_cast<size_t>(span.end - span.begin));
  const size_t at = learnt.rfind(answer);
  if (at == std::string::npos) return "";
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = learnt.find_first_not_of(kSpace, at + answer.size());
  if (begin == std::string::npos) return "";
  return learnt.substr(begin, learnt.find_last_not_of(kSpace) + 1 - begin);
}

}  // namespace

TurnEnd turn_end(const chat::Template& chat_template, const Tokenizer& tokenizer,
                 const CheckpointInfo& info) {
  const auto companion = info.companions.find(kGenerationConfigFile);
  const std::string config = companion == info.companions.end() ? "" : companion->second;
  TurnEnd end;
  const std::string behind = text_behind_answer(chat_template, tokenizer);
  const std::vector<int32_t> behind_ids = tokenizer.encode(behind);
  if (behind_ids.size() == 1) {
    end.ids.push_back(behind_ids[0]);
  } else if (!behind.empty()) {
    end.texts.push_back(behind);
  }
  for (const int32_t id : chat::end_ids(chat_template, tokenizer, config)) {
    const bool known = std::count(end.ids.begin(), end.ids.end(), id) > 0;
    if (!known && tokenizer.token_bytes(id) == 0) end.ids.push_back(id);
  }
  return end;
}

}  // namespace pivot
