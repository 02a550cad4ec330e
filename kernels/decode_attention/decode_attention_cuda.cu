#include "kernels/decode_attention/cuda/problem.cuh"
#include "kernels/decode_attention/cuda/stages.h"

namespace pivot {
namespace {

template <class T>
void run(const DecodeAttention& a, const decode::CudaExtent& extent, Context& ctx) {
  const decode::CudaSpace space = decode::take_space(
      a, extent, [&](DType dtype, Shape shape) { return ctx.scratch.tensor(dtype, shape); });
  const decode::Problem<T> problem = decode::make_problem<T>(a, extent, space);
  if (extent.dense_splits > 0) decode::attend_all(problem, extent.dense_splits, ctx);
  if (extent.ranges > 0) {
    decode::score_keys(problem, ctx);
    decode::select_keys(problem, ctx);
    decode::attend_kept(problem, extent.ranges, ctx);
  }
  decode::merge_parts(problem, ctx);
}

}  // namespace

void decode_attention_cuda(const DecodeAttention& a, Context& ctx) {
  const decode::CudaExtent extent(a);
  PIVOT_CHECK(extent.head_dim % 8 == 0 && extent.head_dim <= decode::kWidestHead,
              "head width {}: CUDA decodes multiples of 8 up to {}", extent.head_dim,
              decode::kWidestHead);
  if (extent.sequences == 0) return;
  const Arena::Scope scope = ctx.scratch.scope();
  if (a.qkv.dtype == DType::BF16) {
    run<BFloat16>(a, extent, ctx);
  } else {
    run<float>(a, extent, ctx);
  }
}

}  // namespace pivot
