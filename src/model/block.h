#pragma once
/// One transformer block, forward and backward, written once for every device.
///
///   h = rmsnorm(x);  qkv = h Wqkv^T (+ b);  qk-norm;  RoPE;  a = attention(qkv)
///   x_mid = x + a Wo^T;   h' = rmsnorm(x_mid);   y = x_mid + swiglu(h' Wgu^T) Wd^T
///
/// Contract of backward: parameter gradients are accumulated, those of absent matrices and biases
/// not computed; `dx` holds the gradient of y on entry
/// and of x on return.

#include "src/model/activations.h"

namespace pivot {

/// The parts of a step that every block shares.
struct BlockArgs {
  const Model& model;
  const ModelInput& input;
  int layer;
  const LayerParams& weights;  // of the layer (LayerWeights)
};

/// saved.x_in is the input. y (N, C) may be any tensor but saved.x_in. `stats` may be null.
void block_forward(const BlockArgs& args, BlockSaved& saved, const Tensor& y, AttentionStats* stats,
                   Context& ctx);

/// Overwrites saved.gate_up.
void block_backward(const BlockArgs& args, BlockSaved& saved, LayerParams& grad, const Tensor& dx,
                    Context& ctx);

}  // namespace pivot
