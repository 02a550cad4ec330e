#pragma once
/// Rows of GGUF tensors as F32, and F32 rows as blocks.

#include <cstddef>
#include <cstdint>

#include "checkpoints/gguf/types.h"

namespace pivot {

/// out[i] for i in [0, count): the value that the type's formula gives in fp32, each operation
/// rounded. `count` is a multiple of the block; `in` need not be aligned.
void dequantize(GgufType type, const std::byte* in, int64_t count, float* out);

/// The same back, for F32, F16, BF16 and Q8_0 (others are a bug). F16 and BF16 round to nearest,
/// ties to even. Q8_0: d = max |x| / 127 in fp32, stored as F16, q = x / d rounded half away from
/// zero. False where a value is not finite or too large for the type; `out` is then undefined.
[[nodiscard]] bool quantize(GgufType type, const float* in, int64_t count, std::byte* out);

/// Whether all of x[0, count) are finite.
bool all_finite(const float* x, int64_t count);

}  // namespace pivot
