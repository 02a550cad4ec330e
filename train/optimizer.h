#pragma once
/// AdamW over flat buffers: weights, gradients and both moments, F32, in the order of
/// list_params().

#include "kernels/adamw/adamw.h"
#include "src/model/params.h"
#include "train/options.h"

namespace pivot {

class Optimizer {
 public:
  /// Everything is zero; see init_params() and read_checkpoint_tensors().
  Optimizer(const ModelConfig& config, const OptimOptions& options, Context& ctx);

  const Tensor& weights() const { return weights_; }  // (P)
  const Tensor& grads() const { return grads_; }      // (P)
  const Tensor& m() const { return m_; }              // (P)
  const Tensor& v() const { return v_; }              // (P)
  /// The four buffers together.
  size_t bytes() const;

  void zero_grads(Context& ctx);
  /// L2 norm of all gradients; not finite if one is not.
  double grad_norm(Context& ctx) const;
  /// The factor that takes a norm down to optim.grad_clip; 1 below it or with clipping off.
  double clip_factor(double norm) const;
  /// One AdamW step with the gradients times grad_scale; `update` counts from 1.
  void update(double lr, double grad_scale, int64_t update, Context& ctx);

 private:
  OptimOptions options_;
  DeviceBuffer memory_[4], segments_, step_;
  Tensor weights_, grads_, m_, v_;
  Tensor scalars_;      // (5) F32: AdamWScalars
  Tensor segment_end_;  // (S) I64
  Tensor decay_;        // (S) F32
};

}  // namespace pivot
