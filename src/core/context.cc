#include "src/core/context.h"

#include <cstring>

#include "src/core/cuda.h"

namespace pivot {

void copy(const Tensor& dst, const Tensor& src, Context& ctx) {
  PIVOT_CHECK(dst.dtype == src.dtype && dst.count() == src.count(), "copy {} to {}",
              to_string(src.shape), to_string(dst.shape));
  if (ctx.device.is_plan() || dst.bytes() == 0) return;
  if (ctx.device.is_cuda()) {
    cuda::copy_on_device(ctx.device.index, dst.data, src.data, dst.bytes());
  } else {
    std::memcpy(dst.data, src.data, dst.bytes());
  }
}

void fill_zero(const Tensor& dst, Context& ctx) {
  if (ctx.device.is_plan() || dst.bytes() == 0) return;
  if (ctx.device.is_cuda()) {
    cuda::fill_zero(ctx.device.index, dst.data, dst.bytes());
  } else {
    std::memset(dst.data, 0, dst.bytes());
  }
}

void copy_from_host(const Tensor& dst, const void* src, Context& ctx) {
  if (ctx.device.is_plan() || dst.bytes() == 0) return;
  if (ctx.device.is_cuda()) {
    cuda::copy_from_host(ctx.device.index, dst.data, src, dst.bytes());
  } else {
    std::memcpy(dst.data, src, dst.bytes());
  }
}

void copy_to_host(void* dst, const Tensor& src, Context& ctx) {
  if (ctx.device.is_plan() || src.bytes() == 0) return;
  if (ctx.device.is_cuda()) {
    cuda::copy_to_host(ctx.device.index, dst, src.data, src.bytes());
  } else {
    std::memcpy(dst, src.data, src.bytes());
  }
}

}  // namespace pivot
