#pragma once
/// Hugging Face directories, written.

#include <cstdint>
#include <functional>
#include <string>

#include "checkpoints/hf/config.h"
#include "checkpoints/model_source.h"

namespace pivot {

struct HfExport {
  std::string directory;
  WeightType type = WeightType::Auto;      // Auto: BF16 where all of the source is, else F32
  int64_t shard_bytes = int64_t{5} << 30;  // most of a file, unless one tensor is larger
  bool overwrite = false;                  // replace a model that is there
  bool tokenizer = true;
  SpecialIds special = {};
  ThreadPool* pool = nullptr;
  std::function<void(int64_t values)> progress = nullptr;  // hears of values written
};

/// Writes config.json, generation_config.json, tokenizer files and model.safetensors, or shards and
/// their index, under a temporary name and then renames it. Memory is a few MB. Returns "bfloat16"
/// and the like. Throws UserError where the directory is in use, the model has no Hugging Face
/// family, or a value does not fit the type.
std::string write_hf(const ModelSource& source, const HfExport& options);

}  // namespace pivot
