#pragma once
/// What an evaluation found, and how it is written: a table, a JSON file, a JSON line per document.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/eval/perplexity.h"
#include "src/eval/retrieval.h"
#include "src/eval/statistics.h"

namespace pivot::eval {

/// Against the first attention of the list, on the same units.
struct Comparison {
  std::string metric;               // "answer_accuracy" or "loss"
  Estimate difference;              // this one - the first one
  std::optional<double> mcnemar_p;  // answers only
};

/// One data set under one attention.
struct EvalResult {
  std::string data;       // name
  std::string path;       // shards
  std::string task;       // "retrieval" | "perplexity"
  std::string mode;       // "train" | "decode"
  std::string attention;  // canonical spec
  std::string prefill;    // canonical spec; "" in mode train
  int64_t items = 0;      // documents or rows looked at
  int64_t tokens = 0;     // asked
  double seconds = 0;
  std::map<std::string, Estimate> metrics = {};
  std::optional<Interval> interval = {};  // Wilson, of answer_accuracy
  std::vector<double> kept_mass = {};     // per layer; empty where unknown
  std::optional<Comparison> against_first = {};
  std::vector<PositionBucket> buckets = {};  // perplexity
};

/// All results of one call and what they depend on.
struct ResultFile {
  std::string model_path;
  std::string model_attention;  // canonical spec it was trained with
  std::string tokenizer_hash;
  int64_t step = 0;
  int64_t parameters = 0;
  int64_t context = 0;
  std::string device;
  int threads = 0;
  double seconds = 0;
  std::vector<std::pair<std::string, std::string>> options = {};  // as on the command line
  std::vector<EvalResult> results = {};
};

/// The metric that a row of the table shows.
std::string main_metric(const EvalResult& result);
double mean_kept_mass(const EvalResult& result);  // NaN where unknown

/// Plain text, one line per result.
std::string to_table(const std::vector<EvalResult>& results);
/// docs/evaluation.md describes the keys.
std::string to_json(const ResultFile& file);

/// JSON lines, one per document or row.
std::string sample_lines(const EvalResult& result, const std::vector<DocumentAnswers>& documents);
std::string sample_lines(const EvalResult& result, const std::vector<ItemLoss>& items);

}  // namespace pivot::eval
