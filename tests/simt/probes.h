#pragma once
/// Kernels of one idea each. The tests run them emulated and on GPUs: where both give what the
/// tests say, the emulator is a GPU in that respect.

#include "src/core/context.h"

namespace pivot::simt_probe {

inline constexpr int kThreads = 256;

/// sums (blocks) F32: of `values` (blocks x kThreads) F32 by block_sum; tops: by block_max.
void block_reductions(const Tensor& sums, const Tensor& tops, const Tensor& values, Context& ctx);

/// out (9, 32) I32 of values (32) I32: shuffles from lane 5, from lane 2 of each 8, xor 3, xor 8
/// of 8 lanes each, up 3, down 5 of 16 lanes each; the ballot of odd values; any, all.
void warp_shuffles(const Tensor& out, const Tensor& values, Context& ctx);

/// The lower and upper half of a warp each sum (2) I32 over values (32) I32.
void half_warps(const Tensor& out, const Tensor& values, Context& ctx);

/// counts (bins) I32 += of values (n) I32 by atomicAdd; extremes (2) I32: atomicMax and atomicMin.
void histogram(const Tensor& counts, const Tensor& extremes, const Tensor& values, Context& ctx);

/// out (blocks, n) F32 = in, rows reversed through dynamic shared memory.
void reverse_rows(const Tensor& out, const Tensor& in, Context& ctx);

/// out (16, 8) F32 = a (16, D) b^T, b (8, D) BF16, by ldmatrix and mma.
void product(const Tensor& out, const Tensor& a, const Tensor& b, Context& ctx);
/// The same of b (D, 8), by transposed loads.
void product_transposed(const Tensor& out, const Tensor& a, const Tensor& b, Context& ctx);

/// out (n) F32 = in + 1 through two stages of asynchronous copies; elements beyond `valid` are 1.
void copy_pipeline(const Tensor& out, const Tensor& in, int64_t valid, Context& ctx);

/// out (n) BF16 = in (n) F32 through packs of 16 bytes; exponentials (n) F32 = 2^in.
void conversions(const Tensor& out, const Tensor& exponentials, const Tensor& in, Context& ctx);

}  // namespace pivot::simt_probe
