#pragma once
/// Documents to token shards.

#include <cstdint>
#include <string>
#include <vector>

#include "data/documents.h"
#include "src/base/rational.h"

namespace pivot {

struct BuildOptions {
  DocumentOptions documents;
  std::string tokenizer;
  std::string out;
  Rational validation;
  bool eos = true;
  int64_t shard_tokens = int64_t{64} << 20;
  bool overwrite = false;

  template <class V>
  void visit(V&& v) {
    documents.visit(v);
    v("tokenizer", tokenizer, "'bytes', a SentencePiece model or a directory that holds one");
    v("out", out, "directory to write: train/, validation/ and the tokenizer");
    v("validation", validation, "share of the documents held out, for example 2%");
    v("eos", eos, "end every document with the tokenizer's end-of-text token");
    v("shard_tokens", shard_tokens, "tokens of one shard file (a shard is held in memory)");
    v("overwrite", overwrite, "replace an existing data set");
  }
};

/// Figures of one part (training or validation).
struct PartResult {
  int64_t documents = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;  // UTF-8 bytes of the text
  std::vector<std::string> files;
};

struct BuildResult {
  PartResult train, validation;
  DocumentCounts input;
  std::string tokenizer_hash;
  int64_t vocab = 0;
  /// Cost of the validation tokens under the training tokens' unigram distribution (add-one
  /// smoothed), per byte of validation text: what a model without context could reach. Of the
  /// training tokens themselves where nothing is held out.
  double unigram_bits_per_byte = 0;
  double unigram_bits_per_token = 0;
  double seconds = 0;
};

/// Whether document `index` of the input is held out: depends on nothing but index and share.
bool is_validation_document(int64_t index, Rational share);

/// Throws UserError on bad input or when a share is held out and one part stays empty; then nothing
/// is written.
BuildResult build_dataset(const BuildOptions& options);

std::string to_json(const BuildResult& result);

}  // namespace pivot
