#include "data/hf/vocabulary.h"

#include <utility>

#include "src/base/check.h"

namespace pivot::hf {

Vocabulary::Vocabulary(std::vector<std::string> tokens, const std::vector<int64_t>& ids,
                       Twice twice, const std::string& where)
    : tokens_(tokens.size()) {
  std::vector<bool> seen(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<size_t>(ids[i]);
    if (ids[i] < 0 || id >= tokens.size()) {
      throw_user("{}: token '{}' has id {}, but with {} tokens ids must be 0 to {} without gaps",
                 where, tokens[i], ids[i], tokens.size(), tokens.size() - 1);
    }
    if (seen[id])
      throw_user("{}: id {} is given twice, to '{}' the second time", where, id, tokens[i]);
    seen[id] = true;
    tokens_[id] = std::move(tokens[i]);
  }
  ids_.reserve(tokens_.size());
  for (size_t id = 0; id < tokens_.size(); ++id) {
    const bool fresh = ids_.insert_or_assign(tokens_[id], static_cast<int32_t>(id)).second;
    if (!fresh && twice == Twice::Refuse) {
      throw_user("{}: token '{}' comes twice", where, tokens_[id]);
    }
  }
}

std::vector<int32_t> Vocabulary::byte_ids() const {
  std::vector<int32_t> ids;
  for (int b = 0; b < 256; ++b) ids.push_back(find(fmt::format("<0x{:02X}>", b)));
  return ids;
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace pivot::hf
