#pragma once
/// Training a SentencePiece model whose round trip is exact.

#include <cstdint>
#include <string>

#include "data/documents.h"

namespace pivot {

struct TokenizerTrainOptions {
  DocumentOptions documents;
  int64_t vocab = 4096;
  std::string model_type = "unigram";
  int64_t reserved = 0;
  int64_t sample_bytes = 0;
  uint64_t seed = 0;
  std::string out;

  template <class V>
  void visit(V&& v) {
    documents.visit(v);
    v("vocab", vocab, "pieces, including 3 special, 256 byte pieces and the reserved symbols");
    v("model_type", model_type, "unigram or bpe");
    v("reserved", reserved, "symbols <r0>, <r1>, ... for generated tasks");
    v("sample_bytes", sample_bytes,
      "at most this much text, chosen line by line, is learnt from; 0: 512 bytes for every piece");
    v("seed", seed, "chooses the lines");
    v("out", out, "file to write");
  }
};

struct TokenizerTrainResult {
  int64_t vocab = 0;
  int64_t documents = 0;
  int64_t text_bytes = 0;    // read
  int64_t sample_bytes = 0;  // learnt from
  int64_t sample_lines = 0;
  double seconds = 0;
  std::string hash;
};

/// Trains and writes options.out. The model normalises nothing, adds no dummy prefix, keeps every
/// space and falls back to bytes; the same input, options and library give the same model. Throws
/// UserError when the text cannot fill the vocabulary or the vocabulary cannot hold the byte
/// pieces.
TokenizerTrainResult train_tokenizer(const TokenizerTrainOptions& options);

}  // namespace pivot
