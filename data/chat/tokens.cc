// Templates and tokenizers together.
#include <algorithm>
#include <filesystem>
#include <optional>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "data/chat/learnt.h"
#include "data/chat/template.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot::chat {
namespace {

using Json = nlohmann::json;

Json parse_config(const Tokenizer& tokenizer) {
  if (tokenizer.config().empty()) return Json::object();
  Json config = Json::parse(tokenizer.config(), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw_user("the tokenizer's tokenizer_config.json is no JSON object");
  return config;
}

// A token's text: a string, or an object with it as "content".
std::string token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object()) return "";
  const auto content = value.find("content");
  return content != value.end() && content->is_string() ? content->get<std::string>() : "";
}

// A text, or a list of named ones of which "default" is meant; "" if there is none.
std::string template_text(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  std::vector<std::string> names;
  if (found->is_array()) {
    for (const Json& one : *found) {
      if (!one.is_object() || !one.contains("name") || !one["name"].is_string()) continue;
      names.push_back(one["name"].get<std::string>());
      if (names.back() == "default" && one.contains("template") && one["template"].is_string()) {
        return one["template"].get<std::string>();
      }
    }
  }
  throw_user(
      "tokenizer_config.json: chat_template is neither a text nor a list with one named 'default' "
      "({}); pass the template with --template",
      fmt::join(names, ", "));
}

// The token reaches back before the span by more than the spaces that belong to a word.
bool begins_in_header(std::string_view text, int64_t token, int64_t span) {
  if (token >= span) return false;
  const std::string_view head =
      text.substr(static_cast<size_t>(token), static_cast<size_t>(span - token));
  return head.find_first_not_of(' ') != std::string_view::npos;
}

std::vector<uint8_t> learnt_tokens(const Encoding& encoding, const Rendered& rendered) {
  std::vector<uint8_t> learnt(encoding.ids.size());
  size_t s = 0;
  for (size_t i = 0; i < learnt.size(); ++i) {
    const int64_t begin = encoding.begin[i], end = encoding.end[i];
    while (s < rendered.learnt.size() && rendered.learnt[s].end <= begin) ++s;
    if (s == rendered.learnt.size()) break;
    const TextSpan span = rendered.learnt[s];
    // What a template marks itself is taken as transformers takes it: every token it touches.
    learnt[i] = end > span.begin && end > begin &&
                (rendered.marked || !begins_in_header(rendered.text, begin, span.begin));
  }
  return learnt;
}

}  // namespace

Template load_template(std::string_view spec, const Tokenizer& tokenizer) {
  const std::vector<std::string> names = builtin_names();
  if (spec.empty()) {
    std::string source = template_text(parse_config(tokenizer));
    if (source.empty()) {
      throw_user(
          "the model's tokenizer has no chat template: name one of {} with --template, or a file "
          "of Jinja source",
          fmt::join(names, ", "));
    }
    return Template(std::move(source));
  }
  if (std::find(names.begin(), names.end(), spec) != names.end()) {
    return Template(builtin_source(spec));
  }
  const std::string path(spec);
  if (std::filesystem::is_regular_file(path)) return Template(read_file(path));
  throw_user("chat template '{}' is neither a file nor one of {}", spec, fmt::join(names, ", "));
}

RenderOptions render_options(const Tokenizer& tokenizer) {
  const Json config = parse_config(tokenizer);
  RenderOptions options;
  const auto token = [&config](const char* name) {
    const auto found = config.find(name);
    return found == config.end() ? std::string() : token_text(*found);
  };
  options.bos_token = token("bos_token");
  options.eos_token = token("eos_token");
  for (const char* name : {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    if (std::string text = token(name); !text.empty()) {
      options.tokens.emplace_back(name, std::move(text));
    }
  }
  if (!tokenizer.config().empty()) return options;
  // Without a config the tokenizer still has names for its tokens.
  if (tokenizer.bos() >= 0) options.bos_token = tokenizer.piece(tokenizer.bos());
  if (tokenizer.eos() >= 0) options.eos_token = tokenizer.piece(tokenizer.eos());
  return options;
}

ChatTokens tokenize(const Template& chat_template, const Conversation& conversation,
                    const RenderOptions& options, const Tokenizer& tokenizer) {
  const Rendered rendered = chat_template.render(conversation, options);
  Encoding encoding = tokenizer.encode_spans(rendered.text, SpecialText::Parse);
  ChatTokens tokens;
  tokens.learnt = learnt_tokens(encoding, rendered);
  tokens.ids = std::move(encoding.ids);
  tokens.text_bytes = static_cast<int64_t>(rendered.text.size());
  tokens.open = rendered.open;
  return tokens;
}

std::vector<int32_t> end_ids(const Template& chat_template, const Tokenizer& tokenizer,
                             const std::string& generation_config) {
  std::vector<int32_t> ids;
  const auto add = [&](int64_t id) {
    if (id < 0 || id >= tokenizer.vocab()) return;
    const auto small = static_cast<int32_t>(id);
    if (std::find(ids.begin(), ids.end(), small) == ids.end()) ids.push_back(small);
  };
  const Conversation probe = {
      {{"user", "Question", "", true}, {"assistant", "Answer", "", true}}, "", "", 0};
  const RenderOptions options = render_options(tokenizer);
  const ChatTokens tokens = tokenize(chat_template, probe, options, tokenizer);
  const auto last = std::find(tokens.learnt.rbegin(), tokens.learnt.rend(), uint8_t{1});
  if (last != tokens.learnt.rend()) {
    // Only where a token of its own ends the turn, not where the answer's last word does.
    const int32_t id = tokens.ids[static_cast<size_t>(tokens.learnt.rend() - last - 1)];
    const bool special = tokenizer.token_bytes(id) == 0;
    if (tokens.open == 0 &&
        (special || end_of_turn_at(tokenizer.piece(id), options.eos_token) > 0)) {
      add(id);
    }
  }
  add(tokenizer.eos());
  if (generation_config.empty()) return ids;
  const Json config = Json::parse(generation_config, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw_user("generation_config.json is no JSON object");
  const auto eos = config.find("eos_token_id");
  if (eos == config.end()) return ids;
  if (eos->is_number_integer()) add(eos->get<int64_t>());
  if (eos->is_array()) {
    for (const Json& id : *eos) {
      if (id.is_number_integer()) add(id.get<int64_t>());
    }
  }
  return ids;
}

}  // namespace pivot::chat
