#include "src/core/arena.h"

#include <algorithm>

namespace pivot {
namespace {
constexpr size_t kAlignment = 64;
}

Arena::Arena(Device device, size_t capacity)
    : device_(device), buffer_(device, device.is_plan() ? 0 : capacity) {}

Tensor Arena::tensor(DType dtype, Shape shape) {
  Tensor t{nullptr, dtype, shape};
  const size_t bytes = (t.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  if (!device_.is_plan()) {
    PIVOT_CHECK(used_ + bytes <= buffer_.bytes(), "arena of {} bytes is full: {} used, {} wanted",
                buffer_.bytes(), used_, bytes);
    t.data = static_cast<std::byte*>(buffer_.data()) + used_;
  }
  used_ += bytes;
  peak_ = std::max(peak_, used_);
  return t;
}

}  // namespace pivot
