#pragma once
/// What a command that generates text works with: model, tokenizer and engine from one set of
/// options.

#include <memory>
#include <string>

#include "checkpoints/model_source.h"
#include "data/tokenizer.h"
#include "src/decode/engine.h"
#include "src/decode/loaded_model.h"

namespace pivot {

struct SessionOptions {
  std::string model;
  std::string attn;
  std::string prefill;
  int64_t context = 0;
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("model", model, kModelDoc);
    v("attn", attn, "attention of the decoding steps; empty takes what the model was trained with");
    v("prefill", prefill, "attention of the prompt; empty takes the one of the decoding steps");
    v("context", context, "longest text in tokens, prompt included; 0 takes the model's");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype, "weights and activations: f32, bf16 (CUDA only) or auto");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

/// A model's tokenizer, with the configuration that travels with it.
std::unique_ptr<Tokenizer> tokenizer_of(const CheckpointInfo& info);

class Session {
 public:
  /// Throws UserError when no model is named, and as LoadedModel and Engine do.
  Session(const SessionOptions& options, int max_sequences);

  Engine& engine() { return *engine_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const LoadedModel& model() const { return model_; }
  /// Canonical specs in use.
  std::string attention() const;
  std::string prefill_attention() const;
  /// "cuda:0 in bf16; trained with topk:1%; prompt topk:1%, decoding topk:1%".
  std::string describe_attention() const;

  /// Other attention from now on; all sequences end. "" as in SessionOptions.
  void set_attention(const std::string& attn, const std::string& prefill);
  /// Mean kept mass over the layers so far.
  double kept_mass() const;

 private:
  int64_t context_;
  int max_sequences_;
  ThreadPool pool_;
  LoadedModel model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<AttentionPolicy> step_, prompt_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace pivot
