#pragma once
/// What a block keeps from its forward pass for its backward pass, by recomputation policy.

#include "src/core/context.h"
#include "src/model/transformer.h"

namespace pivot {

/// Tensors of one block over N rows, of the compute dtype unless stated. Absent ones were not
/// saved: backward computes them again.
struct BlockSaved {
  Tensor x_in;       // (N, C)              the block's input
  Tensor h_attn;     // (N, C)              None only: normed input
  Tensor rstd_attn;  // (N) F32
  Tensor qkv_raw;    // (N, H + 2 G, D)     with QK-norm only: before the norm
  Tensor qk_rstd;    // (N, H + G) F32      with QK-norm only
  Tensor qkv;        // (N, H + 2 G, D)     after RoPE
  Tensor attn;       // (N, H, D)           attention output
  Tensor lse;        // (N, H) F32
  Tensor tau;        // (N, H) F32
  Tensor jcut;       // (N, H) I32
  Tensor x_mid;      // (N, C)              after the attention branch
  Tensor h_ffn;      // (N, C)              None only: normed x_mid
  Tensor rstd_ffn;   // (N) F32
  Tensor gate_up;    // (N, 2, F)
  Tensor act;        // (N, F)              None only: silu(gate) * up
};

/// Everything but x_in, activations of `dtype`, from the arena. With Full only the caller's x_in is
/// kept between the passes, so Full is not asked here.
BlockSaved make_block_saved(const ModelConfig& config, DType dtype, int64_t rows, Recompute policy,
                            Arena& arena);

}  // namespace pivot
