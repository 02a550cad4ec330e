#include "data/hf/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "data/hf/characters.h"
#include "src/base/check.h"

namespace pivot::hf {
namespace {

// Every place where a token may begin tries all that do; longer ones would make that quadratic.
constexpr size_t kLongestToken = 1024;

AddedToken read_token(const Fields& fields) {
  AddedToken t;
  t.content = fields.text("content");
  t.single_word = fields.flag("single_word", false);
  t.lstrip = fields.flag("lstrip", false);
  t.rstrip = fields.flag("rstrip", false);
  t.special = fields.flag("special", false);
  t.normalized = fields.flag("normalized", !t.special);
  t.matched = t.content;
  if (t.content.size() > kLongestToken) {
    throw_user("{}: a token of {} bytes, {} are the limit", fields.where(), t.content.size(),
               kLongestToken);
  }
  return t;
}

/// "added_tokens_decoder" has ids for keys.
std::map<int64_t, Fields> by_id(const Fields& config) {
  std::map<int64_t, Fields> all;
  if (!config.has("added_tokens_decoder")) return all;
  const nlohmann::json& list = config.get("added_tokens_decoder");
  if (!list.is_object()) throw_user("{}: 'added_tokens_decoder' must be an object", config.where());
  for (const auto& [key, value] : list.items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0) {
      throw_user("{}: added_tokens_decoder: '{}' is no id", config.where(), key);
    }
    all.emplace(id,
                Fields(value, fmt::format("{}: added_tokens_decoder: {}", config.where(), key)));
  }
  return all;
}

}  // namespace

AddedTokens::AddedTokens(const Fields& file, const Fields& config, const Vocabulary& vocabulary)
    : next_id_(vocabulary.size()) {
  if (file.has("added_tokens")) {
    for (const Fields& fields : file.objects("added_tokens")) {
      add(read_token(fields), vocabulary, fields.number("id", 0, INT32_MAX), fields);
    }
  }
  for (const auto& [id, fields] : by_id(config)) add(read_token(fields), vocabulary, id, fields);
}

void AddedTokens::add(AddedToken token, const Vocabulary& vocabulary, int64_t given_id,
                      const Fields& fields) {
  if (token.content.empty()) return;  // as the package does
  const auto known = by_content_.find(token.content);
  if (known != by_content_.end()) {
    token.id = tokens_[known->second].id;
  } else {
    token.id = vocabulary.find(token.content);
    if (token.id < 0) token.id = next_id_;
  }
  if (token.id != given_id) {
    throw_user(
        "{}: token '{}' is given id {}, but has {}: ids of tokens that the vocabulary lacks go on "
        "from {} without gaps",
        fields.where(), token.content, given_id, token.id, vocabulary.size());
  }
  if (token.id == next_id_) ++next_id_;
  if (known != by_content_.end()) {
    tokens_[known->second] = std::move(token);
    return;
  }
  by_content_.emplace(token.content, tokens_.size());
  by_id_.emplace(token.id, tokens_.size());
  tokens_.push_back(std::move(token));
}

void AddedTokens::normalize(const std::vector<std::unique_ptr<Normalizer>>& normalizers) {
  for (AddedToken& t : tokens_) {
    if (!t.normalized) continue;
    Text text(t.content, 0, false);
    for (const auto& n : normalizers) n->apply(text);
    t.matched = text.bytes();
  }
  build(Stage::Raw);
  build(Stage::Normalized);
}

void AddedTokens::build(Stage stage) {
  Index& made = stage == Stage::Raw ? raw_ : normalized_;
  std::vector<std::string_view> keys;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].normalized != (stage == Stage::Normalized) || tokens_[i].matched.empty())
      continue;
    made.tokens.push_back(i);
    keys.push_back(tokens_[i].matched);
  }
  made.trie = ByteTrie(keys);
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto it = by_content_.find(std::string(content));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

void AddedTokens::find_matches(std::string_view text, Stage stage, bool special,
                               std::vector<Match>& matches) const {
  const Index& in = index(stage);
  if (in.tokens.empty()) return;
  const char* data = text.data();
  const auto size = static_cast<uint32_t>(text.size());
  uint32_t done = 0;  // end of the last match
  for (uint32_t at = 0; at < size;) {
    if (!in.trie.begins_any(data[at])) {
      ++at;
      continue;
    }
    uint32_t length = 0;
    int32_t value = -1;
    in.trie.prefixes(text.substr(at), [&](uint32_t n, int32_t v) {
      length = n;
      value = v;
    });
    if (value < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[in.tokens[static_cast<size_t>(value)]];
    uint32_t begin = at;
    uint32_t end = at + length;
    at = end;  // even if it does not count
    if (!special && token.special) continue;
    const bool touched = (begin > 0 && is_word(char_before(data + begin).code)) ||
                         (end < size && is_word(char_at(data + end).code));
    if (token.single_word && touched) continue;
    while (token.lstrip && begin > done && is_space(char_before(data + begin).code)) {
      begin -= char_before(data + begin).bytes;
    }
    while (token.rstrip && end < size && is_space(char_at(data + end).code)) {
      end += char_at(data + end).bytes;
    }
    matches.push_back({{begin, end}, token.id});
    done = end;
  }
}

}  // namespace pivot::hf
