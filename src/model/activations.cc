#include "src/model/activations.h"

namespace pivot {

BlockSaved make_block_saved(const ModelConfig& c, DType dtype, int64_t rows, Recompute policy,
                            Arena& arena) {
  PIVOT_CHECK(policy != Recompute::Full, "nothing inside a block is saved with full recomputation");
  const auto f32 = [&](Shape shape) { return arena.tensor(DType::F32, shape); };
  const auto real = [&](Shape shape) { return arena.tensor(dtype, shape); };
  BlockSaved s;
  s.rstd_attn = f32({rows});
  if (c.qk_norm) {
    s.qkv_raw = real({rows, c.qkv_heads(), c.head_dim});
    s.qk_rstd = f32({rows, c.heads + c.kv_heads});
  }
  s.qkv = real({rows, c.qkv_heads(), c.head_dim});
  s.attn = real({rows, c.heads, c.head_dim});
  s.lse = f32({rows, c.heads});
  s.tau = f32({rows, c.heads});
  s.jcut = arena.tensor(DType::I32, {rows, c.heads});
  s.x_mid = real({rows, c.dim});
  s.rstd_ffn = f32({rows});
  s.gate_up = real({rows, 2, c.ffn_dim});
  if (policy == Recompute::None) {
    s.h_attn = real({rows, c.dim});
    s.h_ffn = real({rows, c.dim});
    s.act = real({rows, c.ffn_dim});
  }
  return s;
}

}  // namespace pivot
