#include "kernels/attention/cuda/paths.h"
#include "kernels/attention/cuda/tile_backward.cuh"

namespace pivot::attention {

void tiled_backward(const AttentionBackward& a, Context& ctx) {
  const int64_t tokens = a.qkv.dim(0);
  const int64_t width = a.qkv.dim(2);
  PIVOT_CHECK(a.qkv.dtype == DType::BF16 && (width == 64 || width == 128),
              "the tiled path takes BF16 of width 64 or 128, not {} of width {}",
              dtype_name(a.qkv.dtype), width);
  if (tokens == 0) return;
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor stats = ctx.scratch.tensor(DType::F32, {a.heads, tokens, 4});
  const Tensor keys_finite = ctx.scratch.tensor(DType::U8, {a.kv_heads, tokens});
  const Tensor tiles = list_tiles(a.doc_offsets, tokens, kBackwardRows, ctx);
  const BackwardJob job{.qkv = qkv_view(a),
                        .dout = a.dout.as<BFloat16>(),
                        .dqkv = a.dqkv.as<BFloat16>(),
                        .stats = reinterpret_cast<const RowStats*>(stats.as<float>()),
                        .keys_finite = keys_finite.as<uint8_t>(),
                        .tiles = reinterpret_cast<const Tile*>(tiles.as<int32_t>()),
                        .tile_count = static_cast<int32_t>(tiles.dim(0)),
                        .tokens = tokens,
                        .group = a.heads / a.kv_heads,
                        .scale = a.scale,
                        .rule = rank_rule(a.policy)};
  const Sets sets = shares_sets(a) ? Sets::Shared : Sets::OfHead;
  summarize_rows(a, reinterpret_cast<RowStats*>(stats.as<float>()), keys_finite.as<uint8_t>(), ctx);
  backward_keys(job, width, sets, ctx);
  backward_queries(job, width, sets, ctx);
}

}  // namespace pivot::attention
