#include "kernels/attention/cuda/backward.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot::attention {
namespace {

constexpr int kThreads = 256;

struct SummaryArgs {
  const BFloat16* qkv;
  const BFloat16* dout;
  const BFloat16* out;
  const float* lse;     // (T, H)
  const float* tau;     // (T, H)
  const int32_t* jcut;  // (T, H)
  RowStats* stats;
  uint8_t* keys_finite;
  int64_t tokens;
  int heads;
  int kv_heads;
};

// D / 8 lanes a row; a block takes kThreads / (D / 8) rows of one query head or one key head.
template <int D>
__global__ void __launch_bounds__(kThreads) summarize_rows_kernel(const SummaryArgs a) {
  using cuda::load_pack;
  using cuda::Pack;
  constexpr int kLanesOfRow = D / 8;
  const int head = static_cast<int>(blockIdx.x % (a.heads + a.kv_heads));
  const int64_t strip = blockIdx.x / (a.heads + a.kv_heads);
  const int64_t row = strip * (kThreads / kLanesOfRow) + threadIdx.x / kLanesOfRow;
  const int lane = static_cast<int>(threadIdx.x % kLanesOfRow);
  const bool inside = row < a.tokens;
  const bool is_query = head < a.heads;
  float sum = 0;
  if (inside && is_query) {
    const int64_t at = (row * a.heads + head) * D + lane * 8;
    const Pack<BFloat16> dout = load_pack(a.dout + at);
    const Pack<BFloat16> out = load_pack(a.out + at);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(dout.value[i], out.value[i], sum);
  } else if (inside) {
    const Pack<BFloat16> key =
        load_pack(a.qkv + (row * (a.heads + 2 * a.kv_heads) + head) * D + lane * 8);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(key.value[i], 0.0F, sum);  // NaN unless all are finite
  }
#pragma unroll
  for (int step = kLanesOfRow / 2; step > 0; step /= 2) {
    sum += __shfl_xor_sync(cuda::kAllLanes, sum, step);
  }
  if (!inside || lane != 0) return;
  if (is_query) {
    const int64_t at = row * a.heads + head;
    a.stats[head * a.tokens + row] = {a.tau[at], a.jcut[at], a.lse[at], sum};
  } else {
    a.keys_finite[(head - a.heads) * a.tokens + row] = sum == 0.0F ? 1 : 0;
  }
}

}  // namespace

void summarize_rows(const AttentionBackward& a, RowStats* stats, uint8_t* keys_finite,
                    Context& ctx) {
  const SummaryArgs args{.qkv = a.qkv.as<BFloat16>(),
                         .dout = a.dout.as<BFloat16>(),
                         .out = a.out.as<BFloat16>(),
                         .lse = a.lse.as<float>(),
                         .tau = a.tau.as<float>(),
                         .jcut = a.jcut.as<int32_t>(),
                         .stats = stats,
                         .keys_finite = keys_finite,
                         .tokens = a.qkv.dim(0),
                         .heads = a.heads,
                         .kv_heads = a.kv_heads};
  const int64_t width = a.qkv.dim(2);
  const int64_t strips = cuda::ceil_div(args.tokens, kThreads / (width / 8));
  cuda::launch(width == 128 ? &summarize_rows_kernel<128> : &summarize_rows_kernel<64>,
               dim3(cuda::grid_size(strips * (a.heads + a.kv_heads))), dim3(kThreads), 0,
               cuda::stream(ctx), args);
}

}  // namespace pivot::attention
