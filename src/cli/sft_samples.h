#pragma once
/// Questions of the held-out conversations, answered while a run goes on.

#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "src/model/transformer.h"
#include "train/options.h"
#include "train/trainer.h"

namespace pivot {

/// A conversation up to the last answer, the header of which is part of the prompt.
struct HeldOutPrompt {
  std::vector<int32_t> ids;
  std::string text;    // of the ids, special tokens visible
  std::string wanted;  // the answer that stands there
  int32_t end = -1;    // the last token of that answer: ends a turn
};

/// Up to `count` prompts of the masked shards in `sources` that leave `answer_tokens` of `context`,
/// the first short ones.
std::vector<HeldOutPrompt> held_out_prompts(const std::vector<std::string>& sources,
                                            const Tokenizer& tokenizer, int64_t context,
                                            int64_t answer_tokens, size_t count);

/// Greedy answers with the attention of the moment; each text ends with the answer that was wanted.
std::vector<TextSample> answer_prompts(const std::vector<HeldOutPrompt>& prompts,
                                       const Tokenizer& tokenizer, const TrainOptions& options,
                                       const Model& model, ThreadPool& pool);

}  // namespace pivot
