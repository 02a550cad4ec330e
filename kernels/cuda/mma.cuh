#pragma once
/// Tensor-core and asynchronous-copy instructions that sm_80 and later have (PTX ISA, 9.7).
///
/// Scores must be accumulated as docs/semantics.md says for GPUs: bf16, ascending steps of 16
/// channels, mma_16x8x16, into one accumulator that starts at zero. Every kernel then has the same
/// bits, with the operands in either role.

#include <cstdint>

#include "kernels/cuda/convert.cuh"

namespace pivot::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// c (16, 8) += a (16, 16) b (16, 8). Lane l holds, with g = l / 4 and t = l % 4:
///   a: rows {g, g + 8} x columns {2t, 2t + 1} in a[0], a[1]; columns + 8 in a[2], a[3]
///   b: rows {2t, 2t + 1} of column g in b0; rows + 8 in b1
///   c: rows {g, g, g + 8, g + 8} x columns {2t, 2t + 1, 2t, 2t + 1}
__device__ __forceinline__ void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                            uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
/// The same, each matrix transposed.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// 16 bytes from global to shared memory, past the L1 cache; zeros where `valid` is false (`from`
/// is not read then, but must be a valid pointer).
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most `Pending` committed groups of this thread are still under way.
template <int Pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace pivot::cuda
