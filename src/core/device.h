#pragma once
/// Where tensors live and ops run.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pivot {

/// Plan runs every op's check and cost with null pointers: exact memory and FLOPs without the
/// device.
struct Device {
  enum class Kind : uint8_t { Cpu, Cuda, Plan };
  Kind kind = Kind::Cpu;
  int index = 0;  // CUDA device

  bool is_plan() const { return kind == Kind::Plan; }
  friend bool operator==(const Device&, const Device&) = default;
};

std::string to_string(Device device);

/// "cpu", "cuda", "cuda:1" or "auto" (CUDA where this build and machine have it, else CPU).
/// Throws UserError for anything else or a device that is not there.
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
  Device device_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pivot
