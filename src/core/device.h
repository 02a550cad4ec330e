#pragma once
/// Where tensors live and ops run.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pivot {

/// Plan runs every op's check and cost with null pointers: exact memory and FLOPs without the
/// device it plans for.
struct Device {
  enum class Kind : uint8_t { Cpu, Cuda, Plan };
  Kind kind = Kind::Cpu;
  int index = 0;             // CUDA device
  Kind planned = Kind::Cpu;  // of a plan device: whose kernels' scratch is counted

  constexpr bool is_plan() const { return kind == Kind::Plan; }
  constexpr bool is_cuda() const { return kind == Kind::Cuda; }
  /// The device whose kernels run, or are planned.
  constexpr Kind target() const { return is_plan() ? planned : kind; }
  friend bool operator==(const Device&, const Device&) = default;
};

/// The plan device of `device` (of itself, if it is one).
constexpr Device plan_device(Device device) {
  return {Device::Kind::Plan, device.index, device.is_plan() ? device.planned : device.kind};
}

std::string to_string(Device device);

/// "cpu", "cuda", "cuda:1" or "auto" (CUDA where this build and machine have it, else CPU).
/// Throws UserError for anything else or a device that is not there, with the reason.
Device parse_device(std::string_view text);

/// Memory of a device for the life of the object; zero-filled. Null on the plan device.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device device, size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void release();

  Device device_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pivot
