#pragma once
/// Hugging Face's tokenizer.json as a Tokenizer: ids are those of their `tokenizers` package.

#include <memory>
#include <string>

#include "data/tokenizer.h"

namespace pivot::hf {

/// `json`: the bytes of tokenizer.json, `config`: those of tokenizer_config.json or "". Throws
/// UserError beginning with `where` on malformed files and by name on what is not supported.
std::unique_ptr<Tokenizer> make_huggingface(std::string json, std::string config,
                                            const std::string& where);

}  // namespace pivot::hf
