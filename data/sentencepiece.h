#pragma once
/// SentencePiece models (Kudo and Richardson, EMNLP 2018) as tokenizers.
///
/// Ids are the library's. Models trained by Pivot are exact: decode(encode(x)) == x for any bytes.
/// What the library cannot represent (invalid UTF-8 and U+2581, its own sign for a space) is
/// written in byte pieces there.
///
/// encode() takes control symbols spelt in the text ("</s>") for text, as the library does;
/// encode_spans() with SpecialText::Parse makes them what they say.

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace pivot {

/// model_prefix in the models that `pivot tokenizer train` writes.
inline constexpr const char* kOwnModelPrefix = "pivot";

/// `config`: a tokenizer_config.json or "". Throws UserError naming `where` when `model` is not a
/// SentencePiece model, and when the configuration adds tokens that the model lacks.
std::unique_ptr<Tokenizer> make_sentencepiece(std::string model, const std::string& where,
                                              std::string config = {});

}  // namespace pivot
