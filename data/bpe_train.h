#pragma once
/// Learning the merges of byte-level BPE (Sennrich et al., ACL 2016; Radford et al., 2019).

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/hf/matcher.h"

namespace pivot {

struct HashText {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
/// Bytes of a word and how often it comes.
using WordCounts = std::unordered_map<std::string, int64_t, HashText, std::equal_to<>>;

struct BpeTrainOptions {
  int64_t vocab = 0;                 // tokens, with `special` and the 256 bytes
  int64_t min_count = 2;             // pairs that come less often are not merged
  std::vector<std::string> special;  // get the ids from 0 on
  /// Called now and then with the tokens there are; throws to stop.
  std::function<void(int64_t tokens)> progress;
};

struct BpeVocabulary {
  std::vector<std::string> tokens;  // in GPT-2's alphabet, by id
  std::vector<std::pair<int32_t, int32_t>> merges;
};

/// Merges the most frequent pair, of equally frequent ones that of the smaller ids, until there are
/// `vocab` tokens or no pair is frequent enough. The result is that of Hugging Face's BpeTrainer
/// with the same settings.
BpeVocabulary train_bpe(const WordCounts& words, const BpeTrainOptions& options);

/// As tokenizer.json: `added` tokens are in the vocabulary by their text and special, or not, one
/// by one.
struct AddedSymbol {
  std::string text;
  bool special = true;
};
std::string bpe_tokenizer_json(const BpeVocabulary& vocabulary, hf::KnownPattern pattern,
                               const std::vector<AddedSymbol>& added);

}  // namespace pivot
