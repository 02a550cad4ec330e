#pragma once
/// When rows may be read 16 bytes at a time. Host side.

#include <cstdint>

#include "src/core/tensor.h"

namespace pivot::cuda {

/// True if the memory begins at a multiple of 16 bytes; absent tensors do not matter.
inline bool aligned16(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0;
}

/// True if runs of `width` elements of all tensors are whole 16-byte packs. A tensor of a narrower
/// type decides: `width` is a multiple of its pack.
template <class... Tensors>
bool in_packs(int64_t width, const Tensors&... tensors) {
  const auto fits = [&](const Tensor& t) {
    return aligned16(t) && width * static_cast<int64_t>(dtype_bytes(t.dtype)) % 16 == 0;
  };
  return (fits(tensors) && ...);
}

}  // namespace pivot::cuda
