#pragma once
/// What an evaluation found, and how it is written: a table, a JSON file, a JSON line per document.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/eval/answers.h"
#include "src/eval/perplexity.h"
#include "src/eval/retrieval.h"
#include "src/eval/statistics.h"

namespace pivot::eval {

/// Against the first attention of the list, on the same units.
struct Comparison {
  std::string metric;               // main_metric() of the result
  Estimate difference;              // this one - the first one
  std::optional<double> mcnemar_p;  // of answers that are right or wrong
};

/// One data set under one attention.
struct EvalResult {
  std::string data;       // name
  std::string path;       // shards
  std::string task;       // as DataSet::task
  std::string mode;       // "train" | "decode"
  std::string attention;  // canonical spec
  std::string prefill;    // canonical spec; "" in mode train
  int64_t items = 0;      // documents or rows looked at
  int64_t tokens = 0;     // asked
  double seconds = 0;
  std::map<std::string, Estimate> metrics = {};
  std::optional<Interval> interval = {};  // Wilson, of the main metric where it is a share
  std::vector<double> kept_mass = {};     // per layer; empty where unknown
  std::optional<Comparison> against_first = {};
  std::vector<Comparison> other_comparisons = {};  // answers: of its other metrics
  std::vector<PositionBucket> buckets = {};        // perplexity, dialogues
  std::vector<LengthBucket> lengths = {};          // answers
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
/// `questions` are those that were answered, in the same order.
std::string sample_lines(const EvalResult& result, std::span<const Question> questions,
                         std::span<const QuestionScore> scores);

}  // namespace pivot::eval
