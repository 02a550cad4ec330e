#pragma once
/// Comparison of fp32 results with references, and buffers that notice writes past their ends.

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "kernels/enclosed.h"
#include "src/core/tensor.h"

namespace pivot::test {

/// Row-major coordinate of element `index`: "(3, 0, 17)".
inline std::string coordinate(const Shape& shape, int64_t index) {
  std::string out;
  for (int d = shape.rank - 1; d >= 0; --d) {
    out = fmt::format("{}{}{}", index % shape[d], out.empty() ? "" : ", ", out);
    index /= shape[d];
  }
  return "(" + out + ")";
}

struct Comparison {
  bool ok = true;
  double worst = 0;  // largest error in units of its bound
  double widest =
      0;  // largest bound relative to the largest magnitude: far below 1 or it says nothing
  std::string message;
};

/// |x - w| in units of the bound on that side, doubled; infinite where NaN or infinities differ.
inline double bound_share(double x, const ref::Enclosed& w) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (std::isnan(w.v) || std::isnan(x)) return std::isnan(w.v) == std::isnan(x) ? 0 : kInf;
  if (x == w.v) return 0;
  if (std::isinf(x) || std::isinf(w.v)) return x >= w.lo && x <= w.hi ? 0 : kInf;
  const double side = 2 * (x < w.v ? w.v - w.lo : w.hi - w.v);
  return side > 0 ? std::abs(x - w.v) / side : kInf;
}

/// Whether every fp32 value lies in the interval its reference derives, doubled: a twin may
/// associate products in another way. NaN and infinities must be where the reference has them.
inline Comparison compare(const std::string& name, const Shape& shape, const float* got,
                          const std::vector<ref::Enclosed>& want) {
  Comparison result;
  double magnitude = 0;
  double bound = 0;
  int64_t worst_at = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const ref::Enclosed& w = want[i];
    const double x = got[i];
    const double below = 2 * (w.v - w.lo);
    const double above = 2 * (w.hi - w.v);
    const double ratio = bound_share(x, w);
    if (ratio >= result.worst) {
      result.worst = ratio;
      worst_at = static_cast<int64_t>(i);
    }
    magnitude = std::max(magnitude, std::abs(w.v));
    bound = std::max({bound, below, above});
  }
  result.ok = result.worst <= 1;
  result.widest = magnitude > 0 ? bound / magnitude : 0;
  if (!want.empty()) {
    const ref::Enclosed& w = want[static_cast<size_t>(worst_at)];
    result.message = fmt::format(
        "{}{}: {:.9g}, reference {:.9g} in [{:.9g}, {:.9g}], {:.3f} of the bound; largest bound / "
        "largest value {:.2g}",
        name, coordinate(shape, worst_at), got[worst_at], w.v, w.lo, w.hi, result.worst,
        result.widest);
  }
  return result;
}

/// Memory of one tensor between guard bytes, every element NaN (or an absurd integer) at first.
class GuardedBuffer {
 public:
  GuardedBuffer(DType dtype, const Shape& shape)
      : dtype_(dtype),
        shape_(shape),
        bytes_(Tensor{nullptr, dtype, shape}.bytes()),
        memory_(bytes_ + 2 * kGuard, kPattern) {
    std::memset(data(), 0xFF, bytes_);
  }
  Tensor tensor() { return {data(), dtype_, shape_}; }
  std::byte* data() { return memory_.data() + kGuard; }
  size_t bytes() const { return bytes_; }
  /// The tensor's bytes with the guards around them, data() `kGuard` bytes from the beginning.
  std::vector<std::byte>& memory() { return memory_; }

  static constexpr size_t kGuard = 256;

  /// False if a byte outside the tensor was written.
  bool intact() const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (memory_[i] != kPattern || memory_[kGuard + bytes_ + i] != kPattern) return false;
    }
    return true;
  }

 private:
  static constexpr std::byte kPattern{0xA5};
  DType dtype_;
  Shape shape_;
  size_t bytes_;
  std::vector<std::byte> memory_;
};

}  // namespace pivot::test
