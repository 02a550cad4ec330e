#pragma once
/// A checkpoint in memory: weights, tokenizer facts and the attention it was trained with.

#include <string>

#include "checkpoints/checkpoint.h"
#include "src/core/device.h"
#include "src/model/transformer.h"

namespace pivot {

class LoadedModel {
 public:
  /// `path`: checkpoint, run directory or directory of checkpoints. `attention_spec` "" takes the
  /// one the model was trained with. Throws UserError on a damaged checkpoint, a bad spec or a
  /// device this build has no model for.
  LoadedModel(const std::string& path, const std::string& attention_spec, Device device,
              ThreadPool& pool);

  const Model& model() const { return model_; }
  const CheckpointInfo& info() const { return info_; }
  const std::string& path() const { return path_; }
  /// Replaces the per-layer attention; "" is the trained one.
  void set_attention(const std::string& spec);

 private:
  std::string path_;
  CheckpointInfo info_;
  DeviceBuffer weights_, frequencies_;
  Model model_;
};

}  // namespace pivot
