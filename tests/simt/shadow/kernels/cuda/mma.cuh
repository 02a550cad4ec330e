#pragma once
/// Emulated: see the header of the same name in kernels/cuda.

#include <cstdint>

#include "kernels/cuda/convert.cuh"
#include "tests/simt/engine.h"
#include "tests/simt/tensor_core.h"

namespace pivot::cuda {

/// Distance from the dynamic shared memory: static arrays are in the same program's data.
inline uint32_t shared_address(const void* pointer) {
  const auto base = reinterpret_cast<intptr_t>(simt::dynamic_shared());
  return static_cast<uint32_t>(reinterpret_cast<intptr_t>(pointer) - base);
}

/// `bytes` of shared memory at a multiple of 16 inside what the block has.
inline uint8_t* shared_pointer(uint32_t address, size_t bytes, simt::Place place) {
  if (address % 16 != 0) simt::fault("an address that is not a multiple of 16", place);
  if (address < simt::kMaxShared && address + bytes > simt::dynamic_shared_bytes()) {
    simt::fault("an address outside the block's shared memory", place);
  }
  return simt::dynamic_shared() + static_cast<int32_t>(address);
}

inline void mma_16x8x16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        simt::Place place = simt::Place::current()) {
  const uint32_t b[2] = {b0, b1};
  simt::multiply(c, a, b, place);
}

inline void load_matrix_x4(uint32_t (&r)[4], uint32_t address,
                           simt::Place place = simt::Place::current()) {
  simt::load_matrices(r, shared_pointer(address, 16, place), simt::Layout::Rows, place);
}
inline void load_matrix_x4_transposed(uint32_t (&r)[4], uint32_t address,
                                      simt::Place place = simt::Place::current()) {
  simt::load_matrices(r, shared_pointer(address, 16, place), simt::Layout::Columns, place);
}

inline void copy_async_16(uint32_t to, const void* from, bool valid,
                          simt::Place place = simt::Place::current()) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) {
    simt::fault("copy_async_16 from an address that is not a multiple of 16", place);
  }
  simt::begin_copy(
      {shared_pointer(to, 16, place), valid ? static_cast<const uint8_t*>(from) : nullptr, 16});
}
inline void copy_async_commit() {
  simt::commit_copies();
}
template <int Pending>
void copy_async_wait() {
  simt::wait_for_copies(Pending);
}

}  // namespace pivot::cuda
