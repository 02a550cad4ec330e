#include "data/chat_probe.h"

#include <algorithm>
#include <utility>

#include "data/chat_encode.h"
#include "src/base/check.h"

namespace pivot {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr const char* kRemedy = "choose another template (template=chatml, or a file of your own)";

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

std::string described(const Tokenizer& tokenizer, int32_t id) {
  return fmt::format("{} ({})", tokenizer.piece(id), id);
}

void check_beginning(const std::vector<int32_t>& ids, const Tokenizer& tokenizer,
                     ChatProbe& probe) {
  const int32_t bos = tokenizer.bos();
  if (bos < 0) return;
  if (ids.size() > 1 && ids[0] == bos && ids[1] == bos) {
    throw_user("{}: the text begins with {} twice: the template writes it, the message should not",
               probe.place, described(tokenizer, bos));
  }
  // Only tokenizer.json says whether texts of this model begin with it.
  const std::vector<int32_t> plain = tokenizer.add_special({});
  const bool wanted = tokenizer.kind() == "huggingface" && !plain.empty() && plain.front() == bos;
  if (wanted && ids.front() != bos) {
    probe.warnings.push_back(fmt::format(
        "the tokenizer begins texts with {}, the template does not: what the model learnt before "
        "began with it",
        described(tokenizer, bos)));
  }
}

/// The spans against what the assistant says in them: before it stands no header, after it the end
/// of the turn.
void check_spans(const chat::Rendered& rendered, const chat::Conversation& conversation,
                 ChatProbe& probe) {
  std::vector<std::string> said;
  for (const chat::Message& m : conversation.messages) {
    if (m.role == "assistant" && m.learnt) said.push_back(trimmed(m.content));
  }
  if (said.size() != rendered.learnt.size()) {
    probe.warnings.push_back(
        fmt::format("{} turns of the assistant, {} spans of text to learn: the template leaves out "
                    "or joins turns",
                    said.size(), rendered.learnt.size()));
    return;
  }
  for (size_t i = 0; i < said.size(); ++i) {
    const chat::TextSpan span = rendered.learnt[i];
    const std::string text = rendered.text.substr(static_cast<size_t>(span.begin),
                                                  static_cast<size_t>(span.end - span.begin));
    const size_t at = text.find(said[i]);
    if (at == std::string::npos || said[i].empty()) continue;  // the template rewrote it
    if (trimmed(text.substr(at + said[i].size())).empty()) {
      throw_user(
          "{}: nothing marks the end of what the assistant says, or it is not learnt: the model "
          "would never stop; {}",
          probe.place, kRemedy);
    }
    if (trimmed(text.substr(0, at)).find("assistant") != std::string::npos) {
      throw_user("{}: the header '{}' would be learnt; {}", probe.place,
                 trimmed(text.substr(0, at)), kRemedy);
    }
  }
}

/// The tokens against the spans: those that lie in one are learnt, at its end too; those outside
/// are not.
void check_tokens(const chat::Rendered& rendered, const chat::ChatTokens& tokens,
                  const Tokenizer& tokenizer, const ChatProbe& probe) {
  const Encoding e = tokenizer.encode_spans(rendered.text, SpecialText::Parse);
  PIVOT_CHECK(e.ids == tokens.ids, "{}: two encodings of one text", probe.place);
  size_t s = 0;
  for (size_t i = 0; i < e.ids.size(); ++i) {
    // Spans that are over, and empty ones.
    while (s < rendered.learnt.size() && (rendered.learnt[s].end <= e.begin[i] ||
                                          rendered.learnt[s].end <= rendered.learnt[s].begin)) {
      ++s;
    }
    const bool inside = s < rendered.learnt.size() && rendered.learnt[s].begin < e.end[i];
    if (tokens.learnt[i] != 0 && !inside) {
      throw_user("{}: token {} ({}) would be learnt, though nobody's answer; {}", probe.place, i,
                 described(tokenizer, e.ids[i]), kRemedy);
    }
    const bool ends = inside && e.end[i] >= rendered.learnt[s].end;
    if (ends && tokens.learnt[i] == 0) {
      throw_user(
          "{}: the end of the turn, token {} ({}), is not learnt: the model would never "
          "stop; {}",
          probe.place, i, described(tokenizer, e.ids[i]), kRemedy);
    }
  }
}

}  // namespace

ChatProbe probe_chat(const ChatDataOptions& options, const ChatTarget& target) {
  const chat::RenderOptions render = render_options(options, target.tokenizer);
  const chat::Conversation conversation = first_conversation(options, target);
  ChatProbe probe;
  probe.place = place_of(conversation);
  const chat::Rendered rendered = target.chat_template.render(conversation, render);
  const chat::ChatTokens tokens =
      chat::tokenize(target.chat_template, conversation, render, target.tokenizer);
  check_beginning(tokens.ids, target.tokenizer, probe);
  check_spans(rendered, conversation, probe);
  check_tokens(rendered, tokens, target.tokenizer, probe);
  probe.runs = chat_runs(target.tokenizer, tokens.ids, tokens.learnt);
  probe.tokens = static_cast<int64_t>(tokens.ids.size());
  probe.learnt = std::count(tokens.learnt.begin(), tokens.learnt.end(), 1);
  for (size_t i = tokens.ids.size(); i-- > 0 && probe.ends_with.empty();) {
    if (tokens.learnt[i] != 0) probe.ends_with = described(target.tokenizer, tokens.ids[i]);
  }
  return probe;
}

}  // namespace pivot
