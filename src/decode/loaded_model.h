#pragma once
/// A model in memory: weights, tokenizer facts and the attention it was trained with.

#include <string>
#include <string_view>

#include "checkpoints/checkpoint.h"
#include "src/core/device.h"
#include "src/model/transformer.h"

namespace pivot {

/// Where a model runs and in what type its weights and activations are.
struct Placement {
  Device device;
  DType dtype;

  /// "cuda:0 in bf16"
  std::string describe() const;
};
/// `device` as parse_device; `dtype` "f32", "bf16" or "auto": BF16 on CUDA, F32 on the CPU. Throws
/// UserError for anything else, and for bf16 on the CPU.
Placement parse_placement(std::string_view device, std::string_view dtype);

class LoadedModel {
 public:
  /// `path`: as open_model(). `attention_spec` "" takes the one the model was trained with. Throws
  /// UserError on a damaged model or a bad spec.
  LoadedModel(const std::string& path, const std::string& attention_spec,
              const Placement& placement, ThreadPool& pool);

  const Model& model() const { return model_; }
  const CheckpointInfo& info() const { return info_; }
  const std::string& path() const { return path_; }
  const Placement& placement() const { return placement_; }
  /// Replaces the per-layer attention; "" is the trained one.
  void set_attention(const std::string& spec);

 private:
  std::string path_;
  Placement placement_;
  CheckpointInfo info_;
  DeviceBuffer weights_, frequencies_;
  Model model_;
};

}  // namespace pivot
