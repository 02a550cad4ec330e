#include "kernels/attention/order.h"
#include "kernels/attention/score_bits.h"
#include "kernels/attention_union/attention_union.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace pivot {
namespace {

constexpr int kThreads = 256;

struct Problem {
  const int32_t* offsets;
  int documents;
  const float* tau;
  const int32_t* jcut;
  float* share;
  int heads, kv_heads, width, sink, recent;
};

// Bits of the attention kernels.
__device__ float score(const BFloat16* q, const BFloat16* k, int width) {
  return mma_dot(q, k, width);
}
__device__ float score(const float* q, const float* k, int width) {
  float s = 0;
  for (int d = 0; d < width; ++d) s = fmaf(q[d], k[d], s);
  return s;
}

// The document's first row for the tile that begins in slot `slot` of kUnionRows rows, or -1: tiles
// begin at a document's first row + a multiple of kUnionRows, so at most one does.
__device__ int32_t tile_document(const Problem& p, int64_t slot, int64_t* first) {
  for (int d = 0; d < p.documents; ++d) {
    const int32_t begin = p.offsets[d];
    const int64_t low = slot * kUnionRows - begin;
    const int64_t index = low <= 0 ? 0 : (low + kUnionRows - 1) / kUnionRows;
    *first = begin + index * kUnionRows;
    if (*first / kUnionRows == slot && *first + kUnionRows <= p.offsets[d + 1]) return begin;
  }
  return -1;
}

template <class T>
__global__ void __launch_bounds__(kThreads) union_kernel(Problem p, const T* qkv) {
  __shared__ int32_t space[kThreads / cuda::kWarp];
  const int64_t slot = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y);
  const int64_t stride = int64_t{p.heads + 2 * p.kv_heads} * p.width;
  const int64_t key_offset = int64_t{p.heads + head / (p.heads / p.kv_heads)} * p.width;
  int64_t first = 0;
  const int32_t begin = tile_document(p, slot, &first);
  if (begin < 0) {
    if (threadIdx.x == 0) p.share[slot * p.heads + head] = __uint_as_float(0x7FC00000U);
    return;
  }
  const auto last = static_cast<int32_t>(first + kUnionRows - 1);
  int32_t united = 0;
  for (int32_t key = begin + static_cast<int32_t>(threadIdx.x); key <= last; key += kThreads) {
    bool any = false;
    const auto start = key > first ? key : static_cast<int32_t>(first);
    for (int32_t row = start; row <= last && !any; ++row) {
      const float s = is_forced(key, begin, row, p.sink, p.recent)
                          ? kForcedScore
                          : score(qkv + row * stride + int64_t{head} * p.width,
                                  qkv + key * stride + key_offset, p.width);
      const int64_t at = int64_t{row} * p.heads + head;
      any = is_kept(s, key, p.tau[at], p.jcut[at]);
    }
    united += any ? 1 : 0;
  }
  united = cuda::block_sum<kThreads>(united, space);
  if (threadIdx.x == 0) {
    p.share[slot * p.heads + head] =
        static_cast<float>(united) / static_cast<float>(last - begin + 1);
  }
}

}  // namespace

void attention_union_cuda(const AttentionUnion& a, Context& ctx) {
  if (a.share.count() == 0) return;
  const Problem p{.offsets = a.doc_offsets.as<int32_t>(),
                  .documents = static_cast<int>(a.doc_offsets.dim(0) - 1),
                  .tau = a.tau.as<float>(),
                  .jcut = a.jcut.as<int32_t>(),
                  .share = a.share.as<float>(),
                  .heads = a.heads,
                  .kv_heads = a.kv_heads,
                  .width = static_cast<int>(a.qkv.dim(2)),
                  .sink = a.policy.sink,
                  .recent = a.policy.recent};
  const dim3 grid(cuda::grid_size(a.share.dim(0)), static_cast<unsigned>(a.heads));
  if (a.qkv.dtype == DType::F32) {
    cuda::launch(&union_kernel<float>, grid, dim3(kThreads), 0, cuda::stream(ctx), p,
                 static_cast<const float*>(a.qkv.as<float>()));
  } else {
    cuda::launch(&union_kernel<BFloat16>, grid, dim3(kThreads), 0, cuda::stream(ctx), p,
                 static_cast<const BFloat16*>(a.qkv.as<BFloat16>()));
  }
}

}  // namespace pivot
