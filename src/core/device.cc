#include "src/core/device.h"

#include <charconv>
#include <utility>

#include <sys/mman.h>

#include "src/base/check.h"
#include "src/base/units.h"
#include "src/core/cuda.h"

namespace pivot {
namespace {

constexpr int kLeastComputeCapability = 8;  // bf16 tensor cores, asynchronous copies

}  // namespace

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
  if (text == "cpu") return {};
  if (text == "auto") return {cuda::device_count() > 0 ? Device::Kind::Cuda : Device::Kind::Cpu};
  int index = 0;
  bool good = text == "cuda";
  if (text.substr(0, 5) == "cuda:") {
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + 5, end, index);
    good = error == std::errc{} && rest == end && index >= 0;
  }
  if (!good) throw_user("'{}' is not a device: use cpu, cuda, cuda:N or auto", text);
  const int count = cuda::device_count();
  if (count == 0) {
    throw_user("device '{}': {}; use --device cpu", text, cuda::why_unavailable());
  }
  if (index >= count) {
    throw_user("device '{}': this machine has {} CUDA device{}, counted from cuda:0", text, count,
               count == 1 ? "" : "s");
  }
  const cuda::DeviceInfo info = cuda::device_info(index);
  if (info.major < kLeastComputeCapability) {
    throw_user(
        "device '{}': {} has compute capability {}.{}, the kernels need {}.0 (Ampere) or later; "
        "use "
        "--device cpu",
        text, info.name, info.major, info.minor, kLeastComputeCapability);
  }
  return {Device::Kind::Cuda, index};
}

DeviceBuffer::DeviceBuffer(Device device, size_t bytes) : device_(device), bytes_(bytes) {
  if (bytes == 0 || device.is_plan()) return;
  if (device.is_cuda()) {
    data_ = cuda::allocate(device.index, bytes);
    return;
  }
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
  release();
}

void DeviceBuffer::release() {
  if (data_ == nullptr) return;
  if (device_.is_cuda()) {
    cuda::release(device_.index, data_);
  } else {
    ::munmap(data_, bytes_);
  }
  data_ = nullptr;
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  if (this != &other) {
    release();
    device_ = other.device_;
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

}  // namespace pivot
