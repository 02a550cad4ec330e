#include "src/core/device.h"

#include <utility>

#include <sys/mman.h>

#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {

std::string to_string(Device device) {
  switch (device.kind) {
    case Device::Kind::Cpu:
      return "cpu";
    case Device::Kind::Cuda:
      return fmt::format("cuda:{}", device.index);
    case Device::Kind::Plan:
      return "plan";
  }
  return "?";
}

Device parse_device(std::string_view text) {
  if (text == "cpu" || text == "auto") return {Device::Kind::Cpu, 0};
  if (text.substr(0, 4) == "cuda") {
    throw_user("device '{}': this build has no CUDA support; use --device cpu", text);
  }
  throw_user("'{}' is not a device: use cpu, cuda, cuda:N or auto", text);
}

DeviceBuffer::DeviceBuffer(Device device, size_t bytes) : device_(device), bytes_(bytes) {
  if (bytes == 0 || device.is_plan()) return;
  PIVOT_CHECK(device.kind == Device::Kind::Cpu, "no memory on {}", to_string(device));
  // Anonymous pages are zero and cost nothing until touched.
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw_error("out of memory: {} wanted; `pivot plan` shows what would fit",
                format_bytes(static_cast<double>(bytes)));
  }
  ::madvise(address, bytes, MADV_HUGEPAGE);
  data_ = address;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) ::munmap(data_, bytes_);
    device_ = other.device_;
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

}  // namespace pivot
