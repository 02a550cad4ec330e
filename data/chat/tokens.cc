// From templates to token ids.
#include <algorithm>
#include <filesystem>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "data/chat/template.h"
#include "data/chat/token_names.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot::chat {

Template load_template(std::string_view spec, const Tokenizer& tokenizer) {
  if (spec.empty()) {
    std::string source = read_tokenizer_config(tokenizer.config()).chat_template;
    if (source.empty()) {
      throw_user(
          "the model has no chat template of its own: name one of {}, or a file with a Jinja "
          "template",
          fmt::join(builtin_names(), ", "));
    }
    return Template(std::move(source));
  }
  const std::vector<std::string> names = builtin_names();
  if (std::find(names.begin(), names.end(), spec) != names.end())
    return Template(builtin_source(spec));
  if (std::filesystem::is_regular_file(std::filesystem::path(spec)))
    return Template(read_file(std::string(spec)));
  throw_user("chat template '{}' is neither a file nor one of {}", spec, fmt::join(names, ", "));
}

RenderOptions render_options(const Tokenizer& tokenizer) {
  const TokenizerConfig config = read_tokenizer_config(tokenizer.config());
  RenderOptions o;
  o.bos_token = config.bos_token;
  o.eos_token = config.eos_token;
  // A tokenizer without a config still has names for its tokens.
  if (o.bos_token.empty() && tokenizer.bos() >= 0) o.bos_token = tokenizer.piece(tokenizer.bos());
  if (o.eos_token.empty() && tokenizer.eos() >= 0) o.eos_token = tokenizer.piece(tokenizer.eos());
  return o;
}

ChatTokens tokenize(const Template& chat_template, const Conversation& conversation,
                    const RenderOptions& options, const Tokenizer& tokenizer) {
  const Rendered rendered = chat_template.render(conversation, options);
  Encoding encoding = tokenizer.encode_spans(rendered.text, SpecialText::Parse);
  ChatTokens out;
  out.text_bytes = static_cast<int64_t>(rendered.text.size());
  out.learnt.resize(encoding.ids.size());
  size_t span = 0;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    while (span < rendered.learnt.size() && rendered.learnt[span].end <= encoding.begin[i]) ++span;
    if (span == rendered.learnt.size()) break;
    const TextSpan& s = rendered.learnt[span];
    // A token that begins with a space before the answer ("▁Yes") is the answer's first token; one
    // that reaches further back is of the header.
    const bool before = encoding.begin[i] < s.begin;
    const std::string_view head =
        std::string_view(rendered.text)
            .substr(static_cast<size_t>(encoding.begin[i]),
                    before ? static_cast<size_t>(s.begin - encoding.begin[i]) : 0);
    out.learnt[i] = encoding.end[i] > s.begin && encoding.end[i] > encoding.begin[i] &&
                    head.find_first_not_of(' ') == std::string_view::npos;
  }
  out.ids = std::move(encoding.ids);
  return out;
}

std::vector<int32_t> end_ids(const Template& chat_template, const Tokenizer& tokenizer,
                             const std::string& generation_config) {
  std::vector<int32_t> ids;
  const auto add = [&](int32_t id) {
    if (id >= 0 && id < tokenizer.vocab() && std::find(ids.begin(), ids.end(), id) == ids.end())
      ids.push_back(id);
  };
  Conversation probe;
  probe.messages.push_back({"user", "Question", "", true});
  probe.messages.push_back({"assistant", "Answer", "", true});
  const ChatTokens tokens = tokenize(chat_template, probe, render_options(tokenizer), tokenizer);
  const auto last = std::find(tokens.learnt.rbegin(), tokens.learnt.rend(), uint8_t{1});
  if (last != tokens.learnt.rend()) {
    const int32_t id = tokens.ids[static_cast<size_t>(tokens.learnt.rend() - last - 1)];
    // Only a token of its own ends a turn, not the answer's last word.
    if (special_token_at(tokenizer.piece(id)) > 0 || id == tokenizer.eos()) add(id);
  }
  add(tokenizer.eos());
  if (!generation_config.empty()) {
    const auto json = nlohmann::json::parse(generation_config, nullptr, false);
    if (json.is_object() && json.contains("eos_token_id")) {
      const auto& eos = json["eos_token_id"];
      if (eos.is_number_integer()) add(eos.get<int32_t>());
      if (eos.is_array()) {
        for (const auto& id : eos) {
          if (id.is_number_integer()) add(id.get<int32_t>());
        }
      }
    }
  }
  return ids;
}

}  // namespace pivot::chat
