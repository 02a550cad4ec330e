#pragma once
/// The weights of a run on its device: all of them trained, or frozen with trained adapters.

#include <mutex>
#include <string>

#include "checkpoints/model_source.h"
#include "src/model/transformer.h"
#include "train/compute.h"
#include "train/optimizer.h"

namespace pivot {

class Trainee {
 public:
  /// Takes the memory of weights, gradients and moments; everything is zero. On the plan device
  /// nothing is taken.
  Trainee(const TrainOptions& options, const Compute& compute, Context& ctx);
  Trainee(const Trainee&) = delete;
  Trainee& operator=(const Trainee&) = delete;

  Model& model() { return model_; }
  const Model& model() const { return model_; }
  /// Over all weights, or over the adapters.
  Optimizer& optimizer() { return optimizer_; }
  const Optimizer& optimizer() const { return optimizer_; }
  bool has_adapters() const { return model_.lora.on(); }
  /// What AdamW trains, in its order.
  const std::vector<ParamInfo>& trained() const { return trained_; }

  /// Memory of all weights: masters, rounded ones, the frozen base.
  size_t weight_bytes() const { return optimizer_.weight_bytes() + base_.bytes(); }

  /// Random weights, or random adapters: those of step 0.
  void initialise(uint64_t seed, Context& ctx);
  /// Random weights under the adapters, where nothing but the time of a step matters.
  void initialise_base(uint64_t seed, Context& ctx);
  /// The weights of `source`, in pieces: into the weights that are trained, or the frozen base.
  /// Returns the fingerprint of what was read (16 hex digits).
  std::string read_weights(const ModelSource& source, Context& ctx);
  /// After either, or after optimizer().weights() were written.
  void weights_changed(Context& ctx) { optimizer_.weights_changed(ctx); }

 private:
  std::vector<ParamInfo> trained_;
  Optimizer optimizer_;
  DeviceBuffer base_memory_, frequencies_;
  Tensor base_;  // (P) of the compute dtype: with adapters
  Model model_;
};

/// A copy of `model` with its adapters merged, on its device, for whoever knows none (the decoder).
class MergedModel {
 public:
  MergedModel(const Model& model, Context& ctx);
  const Model& model() const { return model_; }

 private:
  DeviceBuffer memory_;
  Model model_;
};

/// The same weights for files: a layer is merged when its first tensor is asked for. Stored in the
/// type the model computes in, which holds them exactly. Takes scratch of one layer while it lives.
class MergedSource : public ModelSource {
 public:
  MergedSource(const Model& model, CheckpointInfo info, Context& ctx);
  const CheckpointInfo& info() const override { return info_; }
  std::string describe() const override;
  void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const override;
  DType stored_type(const ParamInfo&) const override { return model_.compute_dtype(); }

 private:
  Tensor tensor_of(const ParamInfo& param) const;

  const Model& model_;
  CheckpointInfo info_;
  Context& ctx_;
  Arena::Scope scope_;
  mutable std::mutex mutex_;  // one layer at a time
  mutable LayerWeights weights_;
};

}  // namespace pivot
