#pragma once
/// config.json of Hugging Face models and ModelConfig.

#include <string>
#include <string_view>
#include <vector>

#include "checkpoints/checkpoint.h"

namespace pivot {

struct HfConfig {
  std::string family;  // model_type: "llama", "mistral", "qwen2" or "qwen3"
  ModelConfig model;
  /// Of the key "pivot", which Pivot's own exports have: "dense", "" and 0 where it is absent.
  std::string attention = "dense";
  std::string pivot_version;
  TrainState state;
  std::string warning;  // what people should know about this model, "" if nothing
};

/// Reads config.json as transformers does, defaults of absent keys included. Throws UserError
/// starting with `where` and naming the key that is missing, absurd, or asks for what Pivot cannot
/// compute.
HfConfig read_hf_config(std::string_view json, const std::string& where);

/// Ids of special tokens, -1 where the tokenizer has none.
struct SpecialIds {
  int32_t bos = -1;
  int32_t eos = -1;
};

struct HfConfigFacts {
  std::string dtype;   // of the weights: "float32", "bfloat16" or "float16"
  std::string origin;  // what was exported, for people
  SpecialIds special = {};
};

/// config.json of `info.model` in the spelling that transformers 4 and 5 read. A model that came
/// from Hugging Face (companion hf_config.json) keeps its own, with what has changed since
/// replaced; any other is written as the family its features make it. The key "pivot" tells
/// attention, step and version. Throws UserError for a model that no family has.
std::string print_hf_config(const CheckpointInfo& info, const HfConfigFacts& facts);

/// The family that config.json of print_hf_config() names.
std::string hf_family(const ModelConfig& model);

}  // namespace pivot
