#pragma once
/// Tokens that are found in the text before anything else is done to it ("<|im_end|>").

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/hf/byte_trie.h"
#include "data/hf/json.h"
#include "data/hf/normalizer.h"
#include "data/hf/text.h"
#include "data/hf/vocabulary.h"

namespace pivot::hf {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // only where no letter or digit touches it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = true;    // looked for in the normalised text, normalised itself
  bool special = false;
  std::string matched;  // what is looked for; also what it decodes to
};

class AddedTokens {
 public:
  /// Reads "added_tokens" of `file`, then "added_tokens_decoder" of `config`, whose flags win, as
  /// in transformers. Ids go on where the vocabulary ends; throws UserError naming a token where
  /// the file says otherwise.
  AddedTokens(const Fields& file, const Fields& config, const Vocabulary& vocabulary);
  /// Applies the normalizers to the tokens that are looked for in normalised text.
  void normalize(const std::vector<std::unique_ptr<Normalizer>>& normalizers);

  const std::vector<AddedToken>& all() const { return tokens_; }
  /// The added token of this id, null where it is another token.
  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;

  struct Match {
    Range range;
    int32_t id;
  };
  enum class Stage { Raw, Normalized };
  /// Matches in `text`, leftmost and longest first. `special`: whether special tokens count; those
  /// that do not are passed over. White space that rstrip takes may hold the next match.
  void find_matches(std::string_view text, Stage stage, bool special,
                    std::vector<Match>& matches) const;
  bool any(Stage stage) const { return !index(stage).tokens.empty(); }

 private:
  struct Index {
    std::vector<size_t> tokens;  // of tokens_, by value of the trie
    ByteTrie trie;
  };
  const Index& index(Stage stage) const { return stage == Stage::Raw ? raw_ : normalized_; }
  void add(AddedToken token, const Vocabulary& vocabulary, int64_t given_id, const Fields& fields);
  void build(Stage stage);

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> by_content_;
  std::unordered_map<int32_t, size_t> by_id_;
  int32_t next_id_ = 0;
  Index raw_, normalized_;
};

}  // namespace pivot::hf
