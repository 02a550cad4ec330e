#pragma once
/// How many different keys neighbouring queries keep: what decides whether gathering the union of
/// their keys pays (docs/results).
///
///   tiles of kUnionRows consecutive rows of a document (from its first row on), full ones only;
///   of a tile: visible = keys its last row sees,  united = keys that at least one of its rows
///   keeps share[t / kUnionRows, h] = united / visible,  NaN for tiles that do not exist
///
/// A measurement, not part of a step: a thread looks at one key and all rows of a tile.

#include "kernels/attention/attention.h"

namespace pivot {

inline constexpr int64_t kUnionRows = 128;

struct AttentionUnion {
  Tensor share;        // out (ceil(T / kUnionRows), H) F32: of the tile whose first row lies in
                       // [128 i, 128 (i + 1)); NaN where none does
  Tensor tau;          // in (T, H) F32   of attention_forward with the same policy, as jcut
  Tensor jcut;         // in (T, H) I32
  Tensor qkv;          // in (T, H + 2 G, D), after RoPE
  Tensor doc_offsets;  // in (n + 1) I32
  int heads;
  int kv_heads;
  AttentionPolicy policy;  // group=head only
};
void check(const AttentionUnion& a);
Cost cost(const AttentionUnion& a);
void attention_union_cpu(const AttentionUnion& a, Context& ctx);
void attention_union_cuda(const AttentionUnion& a, Context& ctx);
inline constexpr Op<AttentionUnion> attention_union{"attention_union", &attention_union_cpu,
                                                    PIVOT_CUDA_TWIN(attention_union_cuda)};

}  // namespace pivot
