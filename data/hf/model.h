#pragma once
/// What turns the pieces of a pre-tokenized text into tokens.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/hf/json.h"
#include "data/hf/text.h"
#include "data/hf/vocabulary.h"

namespace pivot::hf {

/// How the bytes of a text reach the model.
enum class Alphabet {
  Chars,  // as they are
  Bytes,  // raw, while the vocabulary spells them in GPT-2's alphabet
};

struct Token {
  int32_t id;
  Range range;  // bytes of the piece it stands for
};

class Model {
 public:
  virtual ~Model() = default;

  /// Appends the tokens of a piece, which is not empty. Ids marked in `barred` are not made from
  /// text (empty: all are allowed). From any thread.
  virtual void encode(std::string_view piece, const std::vector<bool>& barred,
                      std::vector<Token>& tokens) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// -1 where there is none.
  int32_t unk() const { return unk_; }
  /// Appends where `piece` may be cut without changing what is encoded (not 0, not its end).
  virtual void add_cuts(std::string_view piece, std::vector<uint32_t>& cuts) const;

 protected:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Vocabulary vocabulary_;
  int32_t unk_ = -1;
};

/// Reads "model" of `file`, whose lists it takes. Throws UserError naming what is not supported.
std::unique_ptr<Model> make_model(TokenizerFile& file, Alphabet alphabet, const std::string& where);

// By type.
std::unique_ptr<Model> make_bpe(TokenizerFile& file, const Fields& fields, Alphabet alphabet);
std::unique_ptr<Model> make_unigram(TokenizerFile& file, const Fields& fields, Alphabet alphabet);

}  // namespace pivot::hf
