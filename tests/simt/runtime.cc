// src/core/cuda.h on the emulated device: memory of the host, every operation done at once.
#include "tests/simt/runtime.h"

#include <cstring>
#include <map>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include "src/base/check.h"
#include "src/core/cuda.h"
#include "src/core/cuda_check.h"

namespace {

std::map<void*, size_t>& allocated() {
  static std::map<void*, size_t> bytes;
  return bytes;
}

std::map<const void*, size_t>& allowed_shared() {
  static std::map<const void*, size_t> bytes;
  return bytes;
}

using Operations = std::vector<std::function<void()>>;
Operations* recorded_operations = nullptr;  // of the graph being recorded

void enqueue(std::function<void()> operation) {
  if (recorded_operations != nullptr) {
    recorded_operations->push_back(std::move(operation));
  } else {
    operation();
  }
}

void expect_not_recording(const char* what) {
  if (recorded_operations != nullptr) {
    throw pivot::simt::Fault(fmt::format("{} while a graph is recorded", what));
  }
}

}  // namespace

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return cudaErrorInvalidValue;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = pivot::simt::kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = pivot::simt::kMaxShared;
      return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > pivot::simt::kMaxShared) {
    return cudaErrorInvalidValue;
  }
  allowed_shared()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* at, int byte, size_t bytes, cudaStream_t) {
  enqueue([=] { std::memset(at, byte, bytes); });
  return cudaSuccess;
}

namespace pivot::simt {

void launch(const void* kernel, Grid grid) {
  const auto found = allowed_shared().find(kernel);
  const size_t allowed = found == allowed_shared().end() ? kFreeShared : found->second;
  if (grid.shared_bytes > std::max(allowed, kFreeShared)) {
    throw Fault(fmt::format("a kernel asks for {} bytes of shared memory and is allowed {}",
                            grid.shared_bytes, std::max(allowed, kFreeShared)));
  }
  enqueue([grid = std::move(grid)] { run(grid); });
}

}  // namespace pivot::simt

namespace pivot::cuda {

void fail(cudaError_t error, const char* what) {
  throw_error("CUDA could not {}: error {}", what, static_cast<int>(error));
}

int device_count() {
  return 1;
}
std::string why_unavailable() {
  return "";
}
DeviceInfo device_info(int) {
  DeviceInfo info;
  info.name = "emulated";
  info.major = 9;
  info.multiprocessors = simt::kMultiprocessors;
  info.memory = info.memory_free = size_t{1} << 32;
  info.l2 = size_t{1} << 20;
  return info;
}

// Anonymous pages are zero, and cost nothing until they are touched.
void* allocate(int, size_t bytes) {
  expect_not_recording("memory is allocated");
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_error("out of memory: {} bytes wanted", bytes);
  allocated()[memory] = bytes;
  return memory;
}
void release(int, void* memory) noexcept {
  const auto found = allocated().find(memory);
  if (found == allocated().end()) return;
  ::munmap(memory, found->second);
  allocated().erase(found);
}
void copy_on_device(int, void* dst, const void* src, size_t bytes) {
  enqueue([=] { std::memmove(dst, src, bytes); });
}
void copy_from_host(int, void* dst, const void* src, size_t bytes) {
  expect_not_recording("memory is copied from the host");
  std::memcpy(dst, src, bytes);
}
void copy_to_host(int, void* dst, const void* src, size_t bytes) {
  expect_not_recording("memory is copied to the host");
  std::memcpy(dst, src, bytes);
}
void fill_zero(int, void* dst, size_t bytes) {
  enqueue([=] { std::memset(dst, 0, bytes); });
}
void synchronize(int) {
  expect_not_recording("the host waits");
}
void* stream(int) {
  return nullptr;
}
void check_launch(const char*) {}
bool recording(int) {
  return recorded_operations != nullptr;
}

std::shared_ptr<void> shared_state(int, std::type_index type,
                                   const std::function<std::shared_ptr<void>()>& make) {
  static std::map<std::type_index, std::shared_ptr<void>> states;
  std::shared_ptr<void>& slot = states[type];
  if (slot == nullptr) slot = make();
  return slot;
}

struct Graph::State {
  Operations operations;
};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
void Graph::record(int, const std::function<void()>& body) {
  expect_not_recording("another is recorded");
  struct Stop {
    ~Stop() { recorded_operations = nullptr; }
  } stop;
  auto state = std::make_unique<State>();
  recorded_operations = &state->operations;
  body();
  state_ = std::move(state);
}
bool Graph::recorded() const {
  return state_ != nullptr;
}
void Graph::launch() const {
  PIVOT_CHECK(recorded(), "a graph that was not recorded");
  for (const auto& operation : state_->operations) operation();
}

Stopwatch::Stopwatch(int device) : device_(device), events_{} {}
Stopwatch::~Stopwatch() = default;
void Stopwatch::start() {}
double Stopwatch::stop() {
  return 0;
}

}  // namespace pivot::cuda
