#pragma once
/// A data set of an evaluation: opened, checked against the model, its part chosen.

#include <memory>
#include <string>
#include <vector>

#include "src/eval/corpus.h"
#include "src/eval/options.h"
#include "src/model/config.h"

namespace pivot::eval {

struct DataSet {
  std::string name, path, task;  // task: "retrieval" | "perplexity"
  std::unique_ptr<Corpus> corpus;
  std::vector<int64_t> items;           // chosen, rising
  std::vector<EvalDocument> documents;  // retrieval: the chosen documents
  int64_t longest = 0;                  // tokens of the longest chosen document
  int64_t tokens = 0;                   // of all chosen documents
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

/// File or directory name without its extension.
std::string data_set_name(const std::string& path);

}  // namespace pivot::eval
