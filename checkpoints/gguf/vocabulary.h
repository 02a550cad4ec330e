#pragma once
/// Vocabularies of GGUF files: "gpt2" (byte-level BPE), "llama" (SentencePiece BPE) and "t5"
/// (SentencePiece unigram), and what Pivot makes of them: a Hugging Face tokenizer.json.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "checkpoints/gguf/file.h"

namespace pivot {

/// Stored in files: never renumber.
enum class GgufTokenType : int32_t {
  Normal = 1,
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
  Unused = 5,
  Byte = 6,
};

/// tokenizer.ggml.* and tokenizer.chat_template.
struct GgufVocabulary {
  std::string model;                 // "gpt2", "llama" or "t5"
  std::string pre;                   // of "gpt2": a name of pre_tokenizer.h
  std::vector<std::string> tokens;   // by id
  std::vector<GgufTokenType> types;  // by id
  std::vector<float> scores;         // by id; "llama" and "t5"
  std::vector<std::string> merges;   // "left right", best first; "gpt2"
  int32_t bos = -1, eos = -1, unk = -1, pad = -1;
  int32_t eot = -1, eom = -1;  // end of turn, end of message: these end generation as eos does
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = false;  // "llama" and "t5": a space in front of text
  std::string chat_template;      // Jinja; "" where there is none
};

/// Throws UserError naming the file and the key that is missing, damaged or not supported.
GgufVocabulary read_gguf_vocabulary(const GgufFile& file);

/// The Hugging Face tokenizer that gives the same ids (docs/formats/gguf.md says where converters
/// and llama.cpp differ). Throws UserError naming `where` for a vocabulary that cannot be one:
/// tokens twice, merges of tokens that are not there, text that is not UTF-8.
std::string print_tokenizer_json(const GgufVocabulary& vocabulary, const std::string& where);
/// Its companion: names of special tokens, chat template.
std::string print_tokenizer_config(const GgufVocabulary& vocabulary, const std::string& where);
/// generation_config.json: the ids that begin and end what is generated.
std::string print_generation_config(const GgufVocabulary& vocabulary);

/// Every way to make a piece of two others, best first: by the piece's score, then the longer left
/// side (in characters), as Hugging Face's converter orders the merges of SentencePiece models.
std::vector<std::string> sentencepiece_merges(const GgufVocabulary& vocabulary,
                                              const std::string& where);

/// The name that stands for an id without a token.
std::string padding_token(size_t id);

}  // namespace pivot
