#pragma once
/// Host memory behind a tensor of any device, for files: on the CPU the tensor itself.

#include "src/core/context.h"

namespace pivot {

class HostCopy {
 public:
  HostCopy(const Tensor& tensor, const Context& ctx) : tensor_(tensor), host_(tensor) {
    if (!ctx.device.is_cuda()) return;
    memory_ = DeviceBuffer({}, tensor.bytes());
    host_.data = memory_.data();
  }

  const Tensor& tensor() const { return host_; }
  /// Device to host; then host to device.
  void get(Context& ctx) const {
    if (ctx.device.is_cuda()) copy_to_host(host_.data, tensor_, ctx);
  }
  void put(Context& ctx) const {
    if (ctx.device.is_cuda()) copy_from_host(tensor_, host_.data, ctx);
  }

 private:
  Tensor tensor_, host_;
  DeviceBuffer memory_;
};

}  // namespace pivot
