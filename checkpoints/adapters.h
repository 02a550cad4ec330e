#pragma once
/// adapters.h5: what a run with low-rank adapters resumes from. Its checkpoints hold it beside a
/// model.h5 with the adapters merged, which every command reads like any other.
///
///   /meta   format, version, step, rank, alpha, targets, base, base_fingerprint
///   /params/<name>, /m/<name>, /v/<name>   F32, as list_adapters() names them

#include <string>

#include "checkpoints/checkpoint.h"
#include "src/model/lora.h"

namespace pivot {

struct AdapterInfo {
  LoraConfig lora;
  std::string base;              // path of the model under the adapters, as the run was told
  std::string base_fingerprint;  // of its weights (train/trainee.h)
};

/// Flat F32 host tensors in the order of list_adapters(); moments may be absent.
struct AdapterTensors {
  Tensor weights, m, v;
};

bool has_adapters(const std::string& checkpoint);
/// Read and verified. Throw UserError naming the damaged file.
AdapterInfo read_adapter_info(const std::string& checkpoint);
void read_adapter_tensors(const std::string& checkpoint, const ModelConfig& config,
                          const AdapterTensors& out);

/// The file that save_checkpoint() puts beside the others.
CheckpointFile adapter_file(const ModelConfig& config, const AdapterInfo& info,
                            const AdapterTensors& tensors, int64_t step);

}  // namespace pivot
