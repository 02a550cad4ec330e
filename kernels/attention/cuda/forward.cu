#include "kernels/attention/cuda/forward.h"
#include "kernels/attention/cuda/forward_block.cuh"

// A block has 64 rows of one document and one query head, a warp 16 of them; it goes through the
// visible tiles of 64 keys with a running maximum (FlashAttention-2). The scores have the same bits
// as in select.cu, so the test against tau and jcut is exact.
//
// A row in which a score is NaN has tau = -inf and jcut = row. The test is written so that it keeps
// NaN, which then spreads to the maximum, the sum and the output.
//
// Shared sets rank by all heads of the group, whose scores are recomputed for every tile: right,
// not fast.

namespace pivot::attention {
namespace {

constexpr float kLog2E = 1.44269504088896F;

// Marks KV heads with a value that is not finite: 0 * inf would reach rows that do not keep it.
__global__ void __launch_bounds__(256)
    find_not_finite_kernel(QkvView qkv, int64_t tokens, int32_t* not_finite) {
  const int chunks = qkv.width / kChunk;
  const int64_t count = tokens * qkv.kv_heads * chunks;
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * 256) {
    const int64_t row = i / chunks / qkv.kv_heads;
    const auto head = static_cast<int>(i / chunks % qkv.kv_heads);
    const BFloat16* at = qkv.values(head).row(row) + i % chunks * kChunk;
    if (!all_finite(*reinterpret_cast<const uint4*>(at))) not_finite[head] = 1;
  }
}

template <int D, bool Shared, bool Diagnose>
__global__ void __launch_bounds__(kForwardThreads, 2) forward_kernel(const ForwardArgs args) {
  const Tile tile = args.tiles[static_cast<int>(blockIdx.x) / args.qkv.heads];
  if (tile.first >= tile.end) return;
  ForwardBlock<D, Shared, Diagnose> block(args, tile,
                                          static_cast<int>(blockIdx.x) % args.qkv.heads);
  block.start();
  block.run();
  block.write();
}

template <int D, bool Shared, bool Diagnose>
void launch(const ForwardArgs& args, int64_t tiles, Context& ctx) {
  const auto kernel = &forward_kernel<D, Shared, Diagnose>;
  cuda::allow_shared_memory(kernel, ForwardShared<D>::kBytes);
  cuda::launch(kernel, dim3(cuda::grid_size(tiles * args.qkv.heads)), dim3(kForwardThreads),
               ForwardShared<D>::kBytes, cuda::stream(ctx), args);
}
template <int D>
void launch(const ForwardArgs& args, bool shared, int64_t tiles, Context& ctx) {
  if (args.lse_visible != nullptr || args.entropy != nullptr) {
    shared ? launch<D, true, true>(args, tiles, ctx) : launch<D, false, true>(args, tiles, ctx);
  } else {
    shared ? launch<D, true, false>(args, tiles, ctx) : launch<D, false, false>(args, tiles, ctx);
  }
}

template <class T>
T* pointer_or_null(const Tensor& tensor) {
  return tensor.present() ? tensor.as<T>() : nullptr;
}

}  // namespace

void masked_forward(const AttentionForward& a, Context& ctx) {
  const int64_t tokens = a.qkv.dim(0);
  if (tokens == 0) return;
  const int64_t width = a.qkv.dim(2);
  PIVOT_CHECK(width == 64 || width == 128, "tiled attention: head width {}", width);
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor tiles = list_tiles(a.doc_offsets, tokens, kForwardRows, ctx);
  const Tensor not_finite = ctx.scratch.tensor(DType::I32, {a.kv_heads});
  fill_zero(not_finite, ctx);
  const QkvView qkv = qkv_view(a);
  const int64_t chunks = tokens * a.kv_heads * width / kChunk;
  cuda::launch(&find_not_finite_kernel, dim3(cuda::grid_for(ctx, chunks, 256)), dim3(256), 0,
               cuda::stream(ctx), qkv, tokens, not_finite.as<int32_t>());
  const ForwardArgs args = {qkv,
                            reinterpret_cast<const Tile*>(tiles.as<int32_t>()),
                            not_finite.as<int32_t>(),
                            a.tau.as<float>(),
                            a.jcut.as<int32_t>(),
                            a.out.as<BFloat16>(),
                            a.lse.as<float>(),
                            pointer_or_null<float>(a.lse_visible),
                            pointer_or_null<float>(a.entropy),
                            pointer_or_null<int32_t>(a.nan_rows),
                            rank_rule(a.policy),
                            a.scale,
                            a.scale * kLog2E};
  const bool shared = shares_sets(a);
  width == 64 ? launch<64>(args, shared, tiles.dim(0), ctx)
              : launch<128>(args, shared, tiles.dim(0), ctx);
}

}  // namespace pivot::attention
