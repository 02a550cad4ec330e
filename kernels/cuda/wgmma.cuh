#pragma once
/// Warpgroup matrix instructions of sm_90a (PTX ISA, 9.7.15), bfloat16 operands and float sums.
///
/// c (64, 64) += a (64, 16) b (16, 64) by the 128 threads of four neighbouring warps. Warp w of
/// them holds rows [16 w, 16 w + 16) of c; lane l, with g = l / 4 and t = l % 4, rows g and g + 8
/// of these and, of each 8 columns j, columns 8 j + 2 t and 8 j + 2 t + 1:
///   c[4 j], c[4 j + 1]: row g;   c[4 j + 2], c[4 j + 3]: row g + 8.
/// An operand in registers (a) is distributed as that of mma_16x8x16 in kernels/cuda/mma.cuh.
///
/// The instructions are asynchronous: fence, any number of products, commit, wait; the sums must
/// not be touched in between.

#include <cstdint>

namespace pivot::cuda {

/// Operands lie in shared memory as rows of 64 channels (128 bytes), K-major: row r at byte 128 r
/// of an area that begins at a multiple of 1024, and 16-byte piece p of the row at place p ^ (r %
/// 8)
/// ("128-byte swizzle": the eight rows of a piece then lie in different banks). Widths above 64 are
/// several such areas.
__device__ __forceinline__ uint32_t wgmma_operand_offset(int row, int piece) {
  return static_cast<uint32_t>(row * 128 + ((piece ^ (row & 7)) * 16));
}

/// Descriptor of the operand whose first row begins at this shared address; 16 channels further is
/// the descriptor + 2. Bits 0-13: address / 16. 16-29: leading offset / 16, not used with this
/// swizzle. 32-45: distance of groups of 8 rows / 16, 1024 / 16. 62-63: 1, the 128-byte swizzle.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t shared_address) {
  return uint64_t{(shared_address & 0x3FFFF) >> 4} | uint64_t{1} << 16 | uint64_t{64} << 32 |
         uint64_t{1} << 62;
}

/// Makes what threads wrote to shared memory visible to the matrix unit; before the block's
/// barrier.
__device__ __forceinline__ void wgmma_publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `Pending` committed groups are under way.
template <int Pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving uses of the sums across a wait.
__device__ __forceinline__ void wgmma_hold(float (&c)[32]) {
#pragma unroll
  for (float& x : c) asm volatile("" : "+f"(x)::"memory");
}

// The operands of every variant: 32 sums, then what is multiplied, then whether sums are added to.
#define PIVOT_WGMMA_SUMS                                                                        \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define PIVOT_WGMMA_OUTPUTS(c)                                                                    \
  "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), \
      "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]),    \
      "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]),  \
      "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]),  \
      "+f"(c[29]), "+f"(c[30]), "+f"(c[31])

/// c = a b, or c += a b where `add`; both operands in shared memory, b as rows of 16 channels too.
__device__ __forceinline__ void wgmma_64x64x16(float (&c)[32], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " PIVOT_WGMMA_SUMS
      ", %32, %33, p, 1, 1, 0, 0; }"
      : PIVOT_WGMMA_OUTPUTS(c)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
/// The same, a in registers.
__device__ __forceinline__ void wgmma_64x64x16(float (&c)[32], const uint32_t (&a)[4], uint64_t b,
                                               bool add) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " PIVOT_WGMMA_SUMS
      ", {%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
      : PIVOT_WGMMA_OUTPUTS(c)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

#undef PIVOT_WGMMA_SUMS
#undef PIVOT_WGMMA_OUTPUTS

}  // namespace pivot::cuda
