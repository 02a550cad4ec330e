#pragma once
/// Generated tasks with known answers. Document `index` of a task is a pure function of (options,
/// tokenizer, seed, index).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/shard.h"
#include "data/tokenizer.h"

namespace pivot {

struct SynthOptions {
  std::string task;
  int64_t length = 256;
  int64_t pairs = 16;
  int64_t pairs_min = 0;
  int64_t queries = 0;
  int64_t vocab_keys = 0;
  int64_t vocab_values = 0;
  double noise = 0;
  int64_t noise_symbols = 1;
  int64_t gap = 0;
  int64_t chars = 4;
  std::string learn = "answers";
  uint64_t seed = 0;

  template <class V>
  void visit(V&& v) {
    v("task", task, "mqar, recall, induction, majority, passkey or json");
    v("length", length, "tokens of a document (at most); 0: as long as it needs to be");
    v("pairs", pairs, "key-value pairs (induction: period); json: 0 takes as many as fit");
    v("pairs_min", pairs_min, "each document draws from [pairs_min, pairs]; 0: always pairs");
    v("queries", queries, "questions per document; 0: as many as fit (one each for text tasks)");
    v("vocab_keys", vocab_keys, "distinct keys; 0: half of the symbols");
    v("vocab_values", vocab_values, "distinct values; 0: the other half");
    v("noise", noise, "share of the tokens (mqar: of the query slots) that is noise, below 1");
    v("noise_symbols", noise_symbols, "distinct noise symbols");
    v("gap", gap, "mqar: noise tokens between the pairs and the first query");
    v("chars", chars, "json: characters of keys and values; passkey: digits");
    v("learn", learn, "targets: answers, or all tokens (then the shards cannot score answers)");
    v("seed", seed, "of the documents");
  }
};

struct SynthDocument {
  std::vector<int32_t> tokens;
  std::vector<TokenSpan> answers;  // ascending; each follows from the tokens before it
};

class SynthTask {
 public:
  virtual ~SynthTask() = default;
  virtual SynthDocument generate(uint64_t index) const = 0;
};

/// Throws UserError when the options do not fit each other or the tokenizer (too few symbols, a
/// document too short for its pairs, an unknown task: the nearest is named). `tokenizer` must
/// outlive the task.
std::unique_ptr<SynthTask> make_synth_task(const SynthOptions& options, const Tokenizer& tokenizer);

/// Symbols of the token-level tasks: the tokenizer's reserved symbols, or without any the tokens of
/// its ordinary vocabulary that stand for text, ascending.
std::vector<int32_t> task_symbols(const Tokenizer& tokenizer);

/// Validation documents start here, so that no seed's training documents are among them.
inline constexpr uint64_t kValidationIndex = uint64_t{1} << 31;

}  // namespace pivot
