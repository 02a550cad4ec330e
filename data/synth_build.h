#pragma once
/// Generated tasks written as ordinary shards.

#include <cstdint>
#include <string>

#include "data/synth.h"

namespace pivot {

struct SynthBuildOptions {
  SynthOptions synth;
  int64_t count = 10000;
  int64_t validation_count = 0;
  std::string tokenizer;
  std::string out;
  int64_t shard_tokens = int64_t{64} << 20;
  bool overwrite = false;

  template <class V>
  void visit(V&& v) {
    synth.visit(v);
    v("count", count, "training documents");
    v("validation_count", validation_count, "validation documents, from other random numbers");
    v("tokenizer", tokenizer, "'bytes', a SentencePiece model or a directory that holds one");
    v("out", out, "directory to write: train/, validation/ and the tokenizer");
    v("shard_tokens", shard_tokens, "tokens of one shard file (a shard is held in memory)");
    v("overwrite", overwrite, "replace an existing data set");
  }
};

struct SynthBuildResult {
  int64_t train_documents = 0, train_tokens = 0;
  int64_t validation_documents = 0, validation_tokens = 0;
  int64_t answer_tokens = 0;
  double seconds = 0;
};

/// Documents are never cut by the loader (keep_whole). The task's options travel in the shards as
/// JSON; the learnt spans are the answers unless synth.learn is "all".
SynthBuildResult build_synth(const SynthBuildOptions& options);

std::string to_json(const SynthBuildResult& result);

}  // namespace pivot
