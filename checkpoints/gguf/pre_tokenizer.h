#pragma once
/// How a byte-level vocabulary cuts text before its merges: names in GGUF ("tokenizer.ggml.pre"),
/// steps in tokenizer.json.

#include <string>
#include <string_view>
#include <vector>

namespace pivot {

enum class IgnoreMerges { No, Yes };  // a whole word of the vocabulary is taken as it is

struct PreTokenizer {
  std::vector<std::string> names = {};   // the first is the one to write
  bool nfc = false;                      // normalised to Unicode's form C first
  bool digits = false;                   // every digit on its own first
  std::vector<std::string> splits = {};  // regular expressions whose matches become pieces, in turn
  bool gpt2_words = false;               // then GPT-2's expression, which byte-level brings itself
  IgnoreMerges ignore_merges = IgnoreMerges::No;
  bool adds_bos = false;  // where the file does not say
};

/// Null for a name that is not known.
const PreTokenizer* find_pre_tokenizer(std::string_view name);
/// The members "normalizer" and "pre_tokenizer" of a tokenizer.json, without braces.
std::string print_pre_tokenizer(const PreTokenizer& pre);
/// What these members of a tokenizer.json (their text; "null") say, as an entry of the table.
/// Throws UserError if GGUF has no name for it.
const PreTokenizer& recognise_pre_tokenizer(const std::string& normalizer,
                                            const std::string& pre_tokenizer,
                                            IgnoreMerges ignore_merges);
/// "llama-bpe, qwen2, ...".
std::string known_pre_tokenizers();

}  // namespace pivot
