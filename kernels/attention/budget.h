#pragma once
/// How many keys a query keeps: one function for training, decoding, reference and devices.

#include <cstdint>

#include "src/base/platform.h"
#include "src/base/rational.h"

namespace pivot {

/// The numbers of an AttentionPolicy that decide k, small enough to be a kernel argument.
struct Budget {
  Rational ratio;
  int64_t k_fixed;
  int64_t k_min;
  int64_t k_max;

  /// k of n visible keys: min(n, k_fixed) or min(n, clamp(ceil(ratio * n), k_min, k_max)).
  PIVOT_HD constexpr int64_t operator()(int64_t n) const {
    int64_t k = k_fixed;
    if (k == 0) {
      k = ceil_mul(ratio, n);
      if (k < k_min) k = k_min;
      if (k > k_max) k = k_max;
    }
    return k < n ? k : n;
  }
};

}  // namespace pivot
