#pragma once
/// Everything a training run is told: the config file of `pivot train` and `pivot plan`.

#include <set>
#include <string>
#include <vector>

#include "data/chat_options.h"
#include "data/loader.h"
#include "src/base/options.h"
#include "src/model/config.h"
#include "src/model/lora.h"

namespace pivot {

struct OptimOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double grad_clip = 1.0;
  template <class V>
  void visit(V&& v) {
    v("lr", lr, "peak learning rate");
    v("beta1", beta1, "AdamW: decay of the first moment");
    v("beta2", beta2, "AdamW: decay of the second moment");
    v("eps", eps, "AdamW: epsilon");
    v("weight_decay", weight_decay, "on matrices; norms, biases and embeddings are exempt");
    v("grad_clip", grad_clip, "largest gradient norm; 0 is off");
  }
};

struct ScheduleOptions {
  std::string type = "cosine";
  std::string warmup = "5%";
  double min_lr_ratio = 0.1;
  std::string decay = "20%";
  template <class V>
  void visit(V&& v) {
    v("type", type, "learning rate: cosine, linear, wsd or constant");
    v("warmup", warmup, "linear warm-up: steps (200) or share of the run (5%)");
    v("min_lr_ratio", min_lr_ratio, "final learning rate as a share of the peak");
    v("decay", decay, "wsd: steps or share of the run at the end");
  }
};

struct AttentionOptions {
  std::string spec = "topk:1%";
  std::string dense_first = "10%";
  std::string anneal = "0";
  template <class V>
  void visit(V&& v) {
    v("spec", spec, "dense, topk:1%, topk:k=64, ... or per layer: *:topk:1%;0:dense");
    v("dense_first", dense_first, "dense attention for the first steps: steps or share of the run");
    v("anneal", anneal, "after that, the ratio falls from 100% to the spec's over: steps or share");
  }
};

struct BatchOptions {
  int64_t tokens = 8192;
  int64_t micro = 0;
  template <class V>
  void visit(V&& v) {
    v("tokens", tokens, "tokens of an optimiser step; a multiple of data.seq_len");
    v("micro", micro, "rows of a micro-batch; 0 chooses");
  }
};

struct CheckpointOptions {
  std::string every = "10%";
  int keep = 2;
  bool keep_best = false;
  template <class V>
  void visit(V&& v) {
    v("every", every,
      "save every so many steps (500), share of the run (10%) or time (10m); 0 is off");
    v("keep", keep, "newest checkpoints kept; 0 keeps all");
    v("keep_best", keep_best,
      "also keep the weights with the lowest held-out loss, in OUTPUT/best");
  }
};

struct ValidationOptions {
  std::string every = "10%";
  int64_t tokens = 65536;
  template <class V>
  void visit(V&& v) {
    v("every", every, "evaluate held-out loss every so many steps, share or time; 0 is off");
    v("tokens", tokens, "held-out tokens looked at each time");
  }
};

struct SampleDuringOptions {
  std::string every = "0";
  std::string prompt = "The ";
  int64_t tokens = 48;
  template <class V>
  void visit(V&& v) {
    v("every", every, "write a text sample every so many steps, share or time; 0 is off");
    v("prompt", prompt, "beginning of the samples");
    v("tokens", tokens, "tokens of a sample");
  }
};

struct TrainOptions {
  std::string output = "runs/train";
  std::string device = "auto";
  std::string dtype = "auto";
  uint64_t seed = 1;
  std::string init;
  int64_t steps = 1000;
  double epochs = 0;
  Duration time{0};
  int threads = 0;
  std::string recompute = "none";
  bool deterministic = true;
  std::string gemm_choices = "runs/gemm_choices.json";
  std::string resume = "auto";
  int64_t diagnostics_every = 50;
  std::string on_nan = "skip";
  double spike_sigma = 6;
  ModelConfig model;
  LoraConfig lora;
  DataOptions data;
  AttentionOptions attention;
  BatchOptions batch;
  OptimOptions optim;
  ScheduleOptions schedule;
  CheckpointOptions checkpoint;
  ValidationOptions validation;
  SampleDuringOptions sample;
  ChatDataOptions chat;  // `pivot sft`

  /// Keys that were set from outside, as opposed to defaults (option_fields below); not an option.
  std::set<std::string> given;

  template <class V>
  void visit(V&& v) {
    v("output", output, "run directory: metrics, checkpoints, report");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype,
      "of weights and activations: auto (bf16 on a GPU, f32 on the CPU), f32, bf16");
    v("seed", seed, "seed of initial weights and data order");
    v("init", init,
      "model to start from: a checkpoint, a run, a Hugging Face directory or a .gguf file; gives "
      "model.*; empty starts from random weights");
    v("steps", steps, "optimiser steps of the run");
    v("epochs", epochs,
      "length of the run in passes over the training data instead of steps (1.5); 0 is off");
    v("time", time, "stop (and finish the schedule) after this time; 0s is off");
    v("threads", threads, "CPU threads; 0 takes all processors");
    v("recompute", recompute, "activations saved: none, selective or full recomputation");
    v("deterministic", deterministic,
      "the same bits in every run; false lets dense attention on GPUs add up gradients in any "
      "order: "
      "faster on long rows");
    v("gemm_choices", gemm_choices,
      "GPU: file of the fastest matrix product kernels, measured where missing and shared by all "
      "runs, which then repeat bit for bit; empty takes cuBLASLt's own choice");
    v("resume", resume, "auto, never, or the path of a checkpoint");
    v("diagnostics_every", diagnostics_every, "steps between attention statistics; 0 is off");
    v("on_nan", on_nan, "a step with NaN or infinite gradients: skip (up to 5 in a row) or stop");
    v("spike_sigma", spike_sigma,
      "skip steps whose loss is so many sigma above its average; 0 is off");
    v.group("model", model);
    v.group("lora", lora);
    v.group("data", data);
    v.group("attention", attention);
    v.group("batch", batch);
    v.group("optim", optim);
    v.group("schedule", schedule);
    v.group("checkpoint", checkpoint);
    v.group("validation", validation);
    v.group("sample", sample);
    v.group("chat", chat);
  }
};

/// The fields of `options`; setting one also notes its key in options.given.
inline std::vector<OptionField> option_fields(TrainOptions& options) {
  std::vector<OptionField> fields;
  OptionCollector collector(fields, "");
  options.visit(collector);
  for (OptionField& field : fields) {
    field.parse = [&options, key = field.key, parse = field.parse](std::string_view text) {
      parse(text);
      options.given.insert(key);
    };
  }
  return fields;
}

}  // namespace pivot
