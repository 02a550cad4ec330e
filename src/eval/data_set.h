#pragma once
/// A data set of an evaluation: opened, checked against the model, its part chosen.

#include <memory>
#include <string>
#include <vector>

#include "src/eval/conversations.h"
#include "src/eval/corpus.h"
#include "src/eval/options.h"
#include "src/model/config.h"

namespace pivot::eval {

struct DataSet {
  std::string name, path, task;    // task: "retrieval" | "perplexity" | "answers" | "dialogues"
  std::unique_ptr<Corpus> corpus;  // none of answers
  std::vector<int64_t> items;      // chosen, rising
  std::vector<EvalDocument> documents;  // retrieval: the chosen documents
  std::vector<Question> questions;      // answers: the chosen ones
  int64_t longest = 0;  // tokens of the longest chosen document, or prompt and answer
  int64_t tokens = 0;   // of all chosen documents or prompts
};

/// The model that is evaluated, for checks and messages.
struct ModelOrigin {
  std::string path;
  std::string tokenizer_hash;
};

/// Throws UserError on a missing or damaged shard, another tokenizer, ids beyond the vocabulary, or
/// --task retrieval without a loss mask.
DataSet open_data_set(const EvalOptions& options, const std::string& path,
                      const ModelConfig& config, const ModelOrigin& origin);

/// Conversations, for --task answers (also auto) and dialogues. Throws UserError as read_questions.
DataSet open_conversations(const EvalOptions& options, const std::string& path,
                           const ModelConfig& config, const ChatFormat& format);

/// File or directory name without its extension.
std::string data_set_name(const std::string& path);

}  // namespace pivot::eval
