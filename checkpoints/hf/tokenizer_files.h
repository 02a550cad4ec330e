#pragma once
/// The tokenizer files of Hugging Face directories.

#include <string>

#include "checkpoints/checkpoint.h"

namespace pivot {

inline constexpr char kHfTokenizerFile[] = "tokenizer.json";
inline constexpr char kSentencePieceFile[] = "tokenizer.model";
inline constexpr char kChatTemplateFile[] = "chat_template.jinja";

/// Fills tokenizer_kind ("huggingface" or "sentencepiece", "" where there is no tokenizer),
/// tokenizer_bytes, tokenizer_hash and the companion tokenizer_config.json, with the text of
/// chat_template.jinja under "chat_template" where there is one. Files of write_hf_tokenizer() give
/// the kind they were written for. Throws UserError for a tokenizer that Pivot does not read, or
/// one with ids that a vocabulary of `vocab` does not have.
void read_hf_tokenizer(const std::string& directory, int64_t vocab, CheckpointInfo& info);

/// Writes tokenizer.json and tokenizer_config.json. For the kinds "sentencepiece" (whose
/// tokenizer.model goes beside it) and "bytes", tokenizer.json is made to give the same ids.
/// Throws UserError where there is none that does.
void write_hf_tokenizer(const std::string& directory, const CheckpointInfo& info);

}  // namespace pivot
