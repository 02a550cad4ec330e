#pragma once
/// The tokenizer files of Hugging Face directories.

#include "checkpoints/checkpoint.h"
#include "checkpoints/hf/config.h"

namespace pivot {

inline constexpr char kHfTokenizerFile[] = "tokenizer.json";
inline constexpr char kSentencePieceFile[] = "tokenizer.model";
inline constexpr char kChatTemplateFile[] = "chat_template.jinja";

/// Fills tokenizer_kind ("huggingface" or "sentencepiece"; "bytes" for the file that stands for
/// Pivot's bytes; "" where there is no tokenizer), tokenizer_bytes, tokenizer_hash and the
/// companion tokenizer_config.json, with the text of chat_template.jinja under "chat_template"
/// where there is one. Throws UserError for a tokenizer that Pivot does not read, or with ids that
/// a vocabulary of `vocab` does not have.
void read_hf_tokenizer(const std::string& directory, int64_t vocab, CheckpointInfo& info);

/// Texts of special tokens, "" where there is none.
struct SpecialTexts {
  std::string bos, eos, unk;
};

/// Writes the files that read_hf_tokenizer() and transformers read. Throws UserError for a
/// tokenizer that Hugging Face has no file for.
void write_hf_tokenizer(const std::string& directory, const CheckpointInfo& info,
                        const SpecialTexts& special);

}  // namespace pivot
