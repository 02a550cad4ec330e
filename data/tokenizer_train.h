#pragma once
/// Training tokenizers whose round trip is exact: SentencePiece models, and byte-level BPE as
/// tokenizer.json.

#include <cstdint>
#include <string>
#include <vector>

#include "data/documents.h"

namespace pivot {

struct TokenizerTrainOptions {
  DocumentOptions documents;
  std::string type = "sentencepiece";
  int64_t vocab = 4096;
  std::string model_type = "unigram";
  std::string pattern = "llama3";
  std::vector<std::string> special = {"<|begin_of_text|>", "<|end_of_text|>"};
  int64_t reserved = 0;
  int64_t sample_bytes = 0;
  uint64_t seed = 0;
  int threads = 0;
  std::string out;

  template <class V>
  void visit(V&& v) {
    documents.visit(v);
    v("type", type, "sentencepiece, or bpe: byte-level, written as tokenizer.json");
    v("vocab", vocab, "tokens, including special ones, 256 bytes and the reserved symbols");
    v("model_type", model_type, "sentencepiece: unigram or bpe");
    v("pattern", pattern, "bpe: how text is cut into words, as llama3, qwen2 or gpt2 do it");
    v("special", special, "bpe: special tokens; well-known names become bos and eos");
    v("reserved", reserved, "symbols <r0>, <r1>, ... for generated tasks");
    v("sample_bytes", sample_bytes,
      "sentencepiece: at most this much text, chosen line by line, is learnt from; 0: 512 bytes "
      "for "
      "every piece (bpe learns from all of it)");
    v("seed", seed, "sentencepiece: chooses the lines");
    v("threads", threads, "bpe: threads that count words; 0 takes all processors");
    v("out", out, "file to write");
  }
};

struct TokenizerTrainResult {
  int64_t vocab = 0;
  int64_t documents = 0;
  int64_t text_bytes = 0;    // read
  int64_t sample_bytes = 0;  // learnt from
  int64_t sample_lines = 0;  // lines, or words that differ (bpe)
  double seconds = 0;
  std::string hash;
};

/// Trains and writes options.out; the same input and options (and library) give the same tokenizer.
/// Throws UserError when the text cannot fill the vocabulary or the vocabulary cannot hold bytes
/// and symbols. SentencePiece models normalise nothing, add no dummy prefix, keep every space and
/// fall back to bytes.
TokenizerTrainResult train_tokenizer(const TokenizerTrainOptions& options);
/// For type "bpe": options.out is a .json file, or a directory that gets a tokenizer.json. Ids are
/// those of the special tokens, of the reserved symbols, of the bytes, and of the merges in order.
TokenizerTrainResult train_bpe_tokenizer(const TokenizerTrainOptions& options);

}  // namespace pivot
