#pragma once
/// What `pivot eval` is told.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoints/model_source.h"

namespace pivot::eval {

struct EvalOptions {
  std::string model;
  std::vector<std::string> data;
  std::vector<std::string> questions;
  std::string task = "auto";
  std::vector<std::string> attn;
  std::string prefill;
  std::vector<std::string> mode;
  int64_t limit = 0;
  uint64_t seed = 0;
  int64_t seq_len = 0;
  int64_t prefix = 0;
  int batch = 8;
  std::string chat_template;
  int64_t tokens = 64;
  std::string name;
  std::string json;
  std::string samples;
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("model", model, kModelDoc);
    v("data", data, "shards, each one a data set of its own; repeat it or separate by commas");
    v("questions", questions,
      "conversations (JSON lines), each file a data set of its own, as --data is");
    v("task", task,
      "of --data: retrieval (answers that a loss mask marks) or perplexity; of --questions: "
      "answers "
      "(the model writes them) or dialogues (loss of what the assistant says); auto: retrieval "
      "where there is a mask, answers");
    v("template", chat_template,
      "of --questions: name of a built-in chat template or a file of Jinja source; empty takes the "
      "model's");
    v("tokens", tokens, "answers: most tokens of one");
    v("attn", attn, "attention specs side by side; repeat it; empty takes the trained one");
    v("prefill", prefill, "decoding: attention of the prompt; empty takes the spec of the row");
    v("mode", mode,
      "train (one pass of the training path), decode (token by token through the KV cache), or "
      "both; "
      "empty: decode for retrieval and answers, train for perplexity and dialogues");
    v("limit", limit,
      "documents (retrieval), rows (perplexity) or conversations looked at; 0 is all");
    v("seed", seed, "which ones, if there are more");
    v("seq_len", seq_len, "perplexity: tokens of a row; 0 takes the model's context");
    v("prefix", prefix, "perplexity: first tokens of each document that only serve as context");
    v("batch", batch, "decoding: documents side by side; no effect on results");
    v("name", name, "of the result under RUN/eval; empty makes one from the data");
    v("json", json, "result file; empty writes RUN/eval/NAME.json if the model is a run");
    v("samples", samples,
      "one line per document or question and spec (JSON); empty: beside the result file");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype, "weights and activations: f32, bf16 (CUDA only) or auto");
    v("threads", threads, "CPU threads; 0 takes all processors");
  }
};

/// Throws UserError naming the option that is missing or out of range.
void validate(const EvalOptions& options);

/// The specs in a comma-separated list whose members contain commas themselves: a new spec begins
/// where a piece starts with "dense", "topk" or a layer rule ("0-1:", "*:").
std::vector<std::string> join_specs(const std::vector<std::string>& pieces);

}  // namespace pivot::eval
