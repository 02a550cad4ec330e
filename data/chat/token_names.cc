#include "data/chat/token_names.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/check.h"

namespace pivot::chat {
namespace {

// Longer than any special token seen; keeps "<a href=...>" of a text from being one.
constexpr size_t kLongest = 48;

// "token" or {"content": "token"}
std::string token_text(const nlohmann::json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (it->is_object() && it->contains("content") && (*it)["content"].is_string())
    return (*it)["content"];
  return "";
}

// A text, or a list of named ones of which "default" is meant.
std::string template_text(const nlohmann::json& config) {
  const auto it = config.find("chat_template");
  if (it == config.end()) return "";
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return "";
  for (const auto& one : *it) {
    if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
        one["template"].is_string()) {
      return one["template"];
    }
  }
  return "";
}

}  // namespace

size_t special_token_at(std::string_view text) {
  if (text.size() < 3 || text[0] != '<') return 0;
  const size_t end = text.substr(0, kLongest).find('>');
  if (end == std::string_view::npos || end < 2) return 0;
  const std::string_view inside = text.substr(1, end - 1);
  const bool plain = std::none_of(inside.begin(), inside.end(), [](char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '<' || c == '=' || c == '"';
  });
  return plain ? end + 1 : 0;
}

TokenizerConfig read_tokenizer_config(const std::string& json) {
  if (json.empty()) return {};
  const nlohmann::json config = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw_user("tokenizer_config.json holds no JSON object");
  return {template_text(config), token_text(config, "bos_token"), token_text(config, "eos_token")};
}

}  // namespace pivot::chat
