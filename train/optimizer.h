#pragma once
/// AdamW over flat buffers: master weights, gradients and both moments, F32, in the order of a list
/// of parameters; and, where the model computes in BF16, the weights rounded to it.

#include <limits>

#include "kernels/adamw/adamw.h"
#include "src/model/params.h"
#include "train/options.h"

namespace pivot {

/// One update from the sums of gradients and of losses of a whole optimiser step.
struct UpdateArgs {
  double lr;
  int64_t update;                                               // counted from 1
  int64_t targets;                                              // valid targets of the step
  double loss_limit = std::numeric_limits<double>::infinity();  // a higher mean loss is refused
};

/// What update() decided, in host memory once the device has got there.
struct UpdateResult {
  float loss;       // mean over the targets
  float grad_norm;  // of the mean over the targets, before clipping
  float applied;    // 0: loss or norm not finite, or loss above the limit; nothing was changed
};

class Optimizer {
 public:
  /// Everything is zero; see init_params() and read_checkpoint_tensors().
  Optimizer(const std::vector<ParamInfo>& params, const OptimOptions& options, DType compute,
            Context& ctx);
  /// Of a whole model.
  Optimizer(const ModelConfig& config, const OptimOptions& options, DType compute, Context& ctx)
      : Optimizer(list_params(config), options, compute, ctx) {}

  const Tensor& weights() const { return weights_; }  // (P) F32
  const Tensor& grads() const { return grads_; }      // (P) F32
  const Tensor& m() const { return m_; }              // (P) F32
  const Tensor& v() const { return v_; }              // (P) F32
  /// The weights the model computes with, (P) of the compute dtype: weights() itself in F32.
  const Tensor& compute_weights() const { return compute_.present() ? compute_ : weights_; }
  /// Memory of weights (both kinds), of gradients and of moments.
  size_t weight_bytes() const { return weights_.bytes() + compute_.bytes(); }
  size_t grad_bytes() const { return grads_.bytes(); }
  size_t moment_bytes() const { return m_.bytes() + v_.bytes(); }

  /// After weights() were written: rounds them into compute_weights().
  void weights_changed(Context& ctx);
  void zero_grads(Context& ctx);
  /// Sends the numbers of the next update to the device.
  void prepare(const UpdateArgs& args, Context& ctx);
  /// One AdamW step as prepared, with grads() / targets clipped to optim.grad_clip, or none
  /// (UpdateResult::applied).
  /// losses (N) F32 of all tokens. Launches only: what it needs from the host was prepared.
  void update(const Tensor& losses, Context& ctx);
  UpdateResult result(Context& ctx) const;

 private:
  OptimOptions options_;
  DeviceBuffer memory_[5], small_;
  Tensor weights_, grads_, m_, v_, compute_;
  Tensor segment_end_;  // (S) I64
  Tensor decay_;        // (S) F32
  Tensor scalars_;      // (5) F32: AdamWScalars
  Tensor limits_;       // (2) F32: UpdateGate::limits
  Tensor result_;       // (3) F32: UpdateResult
};

}  // namespace pivot
