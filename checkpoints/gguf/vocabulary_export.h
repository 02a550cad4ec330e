#pragma once
/// Pivot's tokenizers as GGUF vocabularies.

#include "checkpoints/checkpoint.h"
#include "checkpoints/gguf/metadata_writer.h"
#include "checkpoints/gguf/vocabulary.h"

namespace pivot {

/// From tokenizer and companions of a model: kinds "huggingface" (byte-level BPE, BPE with byte
/// fallback, unigram), "sentencepiece" and "bytes". One token for each row of the embedding: ids
/// without a token are padding. Throws UserError for what GGUF cannot say.
GgufVocabulary make_gguf_vocabulary(const CheckpointInfo& info);

/// From a SentencePiece model file (kind "sentencepiece").
GgufVocabulary read_sentencepiece_vocabulary(std::string_view model);
/// From a tokenizer.json (kind "huggingface") and its companions.
GgufVocabulary read_huggingface_vocabulary(const CheckpointInfo& info);

/// Writes tokenizer.*.
void add_vocabulary(const GgufVocabulary& vocabulary, GgufMetadata& metadata);

}  // namespace pivot
