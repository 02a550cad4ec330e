#pragma once
/// What a run left behind, read for the report: metrics.jsonl, samples.jsonl, eval/*.json,
/// config.toml, summary.json, probe.json. Every part may be missing; lines that cannot be read are
/// counted, never fatal.

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace pivot::report {

/// One number over the steps; x rises strictly.
struct Series {
  std::vector<double> x, y;
  bool empty() const { return x.empty(); }
};

/// Attention statistics of one layer at one step.
struct LayerAttention {
  std::string policy;
  std::vector<double> kept_mass;  // (H), shares of the softmax
  std::vector<double> entropy;    // (H), nats
  double k = 0;                   // keys of a row, mean; 0 where unknown
};

struct Sample {
  double step = 0;
  std::string prompt;
  std::string text;
};

/// A part of the conversation that fine-tuning showed at its start.
struct ProbeRun {
  std::string text;
  bool learnt = false;
  bool special = false;  // a special token
};

/// One row of a result of `pivot eval`: a data set under one attention.
struct EvalRow {
  std::string file;  // result file it came from
  std::string data;  // data set
  std::string task;  // "retrieval" | "perplexity"
  std::string mode;  // "train" | "decode"
  std::string attention;
  std::string prefill;
  bool trained = false;  // the attention the model was trained with
  struct Metric {
    double value = 0;
    double stderr_value = 0;
    int64_t n = 0;
  };
  std::map<std::string, Metric> metrics;
  double kept_mass = -1;  // -1 where unknown
  double seconds = 0;
  std::string against_first;  // difference to the first attention of the list, as text
  /// Perplexity: loss by position, (first position of the bucket, mean loss).
  Series loss_by_position;
};

using Facts = std::vector<std::pair<std::string, std::string>>;

struct RunData {
  std::string path;
  std::string name;                          // last part of the path
  std::map<std::string, Series> step;        // every number of the step records, by key
  std::map<std::string, Series> validation;  // the same of the validation records
  std::map<double, std::vector<LayerAttention>> attention;  // step -> layers
  std::vector<Sample> samples;
  std::vector<ProbeRun> probe;
  std::string probe_place;
  std::vector<EvalRow> evals;
  Facts facts;               // the last "run" record: device, threads, parameters, ...
  Facts summary;             // summary.json, flattened with dots
  std::vector<Facts> notes;  // skips, checkpoints, ends, in order: "kind" first
  std::string config;        // config.toml
  int64_t broken_lines = 0;  // of all files
  std::string broken_where;  // the first one: "metrics.jsonl line 12"

  bool empty() const {
    return step.empty() && validation.empty() && evals.empty() && samples.empty();
  }
};

/// Throws UserError if `path` is not a directory or holds nothing of a run.
RunData read_run(const std::string& path);

}  // namespace pivot::report
