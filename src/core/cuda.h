#pragma once
/// CUDA devices, without CUDA's headers: cuda_runtime.cc implements this in builds with CUDA,
/// cuda_absent.cc (no device, nothing works) in builds without.
///
/// All work of a device goes to one stream. The stream, library handles and caches of a device live
/// as long as the process, as its CUDA context does (docs/decisions.md).

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <typeindex>

namespace pivot::cuda {

/// Usable devices: 0 in a build without CUDA, without a driver, or where none answers.
int device_count();
/// Why device_count() is 0: "this build has no CUDA support", "the NVIDIA driver is too old ...".
std::string why_unavailable();

struct DeviceInfo {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  size_t memory = 0;       // bytes
  size_t memory_free = 0;  // bytes, now; less than `memory` where other processes use the device
  size_t l2 = 0;           // bytes
  std::string driver, runtime, cublas;  // versions
};
DeviceInfo device_info(int device);

/// Zero-filled. Throws Error naming what was wanted, what is free, and what to do.
void* allocate(int device, size_t bytes);
void release(int device, void* memory) noexcept;

/// In the order of the device's stream; copy_to_host returns when the data is there.
void copy_on_device(int device, void* dst, const void* src, size_t bytes);
void copy_from_host(int device, void* dst, const void* src, size_t bytes);
void copy_to_host(int device, void* dst, const void* src, size_t bytes);
void fill_zero(int device, void* dst, size_t bytes);
/// Waits for all work; throws Error if some of it failed.
void synchronize(int device);

/// The device's cudaStream_t.
void* stream(int device);
/// Throws Error if the launches of `what` failed to start.
void check_launch(const char* what);
/// True while a Graph records: kernels may be launched, memory not allocated, nothing waited for.
bool recording(int device);

/// The one T of a device, made at the first call (T has a constructor from the device's index): the
/// place for library handles and measured choices.
std::shared_ptr<void> shared_state(int device, std::type_index type,
                                   const std::function<std::shared_ptr<void>()>& make);
template <class T>
T& state(int device) {
  return *static_cast<T*>(
      shared_state(device, typeid(T), [&] { return std::make_shared<T>(device); }).get());
}

/// A recorded sequence of launches (a CUDA graph).
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  /// Records what `body` launches on the device's stream; nothing runs.
  void record(int device, const std::function<void()>& body);
  bool recorded() const;
  /// Runs all of it, in the stream's order.
  void launch() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Time between two points of the device's stream.
class Stopwatch {
 public:
  explicit Stopwatch(int device);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start();
  /// Waits; seconds since start().
  double stop();

 private:
  int device_;
  void* events_[2];
};

}  // namespace pivot::cuda
