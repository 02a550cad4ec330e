#pragma once
/// Spellings of tokens and their ids.

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pivot::hf {

class Vocabulary {
 public:
  /// Of a spelling that comes twice, the later id is found (Hugging Face's UnigramTrainer writes
  /// "<unk>" twice), or it is refused.
  enum class Twice { Refuse, LaterWins };
  /// Token i of `tokens` has id ids[i]. Throws UserError beginning with `where` when an id comes
  /// twice or the ids are not 0 to tokens.size() - 1.
  Vocabulary(std::vector<std::string> tokens, const std::vector<int64_t>& ids, Twice twice,
             const std::string& where);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::string& token(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }
  /// -1 where there is none.
  int32_t find(std::string_view token) const {
    const auto it = ids_.find(token);
    return it == ids_.end() ? -1 : it->second;
  }
  /// "<0x0A>" for each byte, -1 where it is missing.
  std::vector<int32_t> byte_ids() const;

 private:
  std::vector<std::string> tokens_;  // never changed again: ids_ looks into it
  std::unordered_map<std::string_view, int32_t> ids_;
};

/// The byte that a token such as "<0x0A>" stands for, -1 for any other.
int byte_of_token(std::string_view token);

}  // namespace pivot::hf
