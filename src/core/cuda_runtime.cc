// Builds with CUDA; see cuda.h.
#include <array>
#include <map>
#include <mutex>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "src/base/check.h"
#include "src/base/units.h"
#include "src/core/cuda.h"
#include "src/core/cuda_check.h"

namespace pivot::cuda {
namespace {

constexpr int kMaxDevices = 64;

std::string version_text(int version, int major_unit) {
  return fmt::format("{}.{}", version / major_unit, version % major_unit / (major_unit / 100));
}

// What lives as long as a device's context.
class Runtime {
 public:
  explicit Runtime(int device) : device_(device) {
    check(cudaSetDevice(device), "select the device");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "create a stream");
  }

  cudaStream_t stream() const { return stream_; }

  std::shared_ptr<void> shared(std::type_index type,
                               const std::function<std::shared_ptr<void>()>& make) {
    std::shared_ptr<void>& slot = states_[type];
    if (slot == nullptr) slot = make();
    return slot;
  }

 private:
  int device_;
  cudaStream_t stream_ = nullptr;
  std::map<std::type_index, std::shared_ptr<void>> states_;
};

// Never destroyed: the driver takes its context down before static destructors would run.
Runtime& runtime(int device) {
  static std::mutex& mutex = *new std::mutex;
  static auto& runtimes = *new std::array<Runtime*, kMaxDevices>{};
  PIVOT_CHECK(device >= 0 && device < kMaxDevices, "device {}", device);
  const std::lock_guard lock(mutex);
  Runtime*& r = runtimes[static_cast<size_t>(device)];
  if (r == nullptr) {
    r = new Runtime(device);
  } else {
    check(cudaSetDevice(device), "select the device");
  }
  return *r;
}

struct Availability {
  int count = 0;
  std::string reason;
};

const Availability& availability() {
  static const Availability found = [] {
    Availability a;
    const cudaError_t error = cudaGetDeviceCount(&a.count);
    if (error == cudaSuccess && a.count > 0) return a;
    a.count = 0;
    static_cast<void>(cudaGetLastError());
    int driver = 0, built = 0;
    static_cast<void>(cudaDriverGetVersion(&driver));
    static_cast<void>(cudaRuntimeGetVersion(&built));
    if (error == cudaErrorInsufficientDriver && driver > 0) {
      a.reason = fmt::format(
          "the NVIDIA driver is too old: it supports CUDA {}, this build needs {}; update the "
          "driver or build with an older toolkit",
          version_text(driver, 1000), version_text(built, 1000));
    } else if (error == cudaErrorInsufficientDriver) {
      a.reason = "no NVIDIA driver is loaded";
    } else if (error == cudaErrorNoDevice || error == cudaSuccess) {
      a.reason = "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES set?)";
    } else {
      a.reason = fmt::format("CUDA does not start: {}", cudaGetErrorString(error));
    }
    return a;
  }();
  return found;
}

}  // namespace

void fail(cudaError_t error, const char* what) {
  throw_error("CUDA could not {}: {} ({})", what, cudaGetErrorString(error),
              cudaGetErrorName(error));
}

int device_count() {
  return availability().count;
}

std::string why_unavailable() {
  return availability().reason;
}

DeviceInfo device_info(int device) {
  runtime(device);
  cudaDeviceProp p{};
  check(cudaGetDeviceProperties(&p, device), "read the device's properties");
  DeviceInfo info{.name = p.name,
                  .major = p.major,
                  .minor = p.minor,
                  .multiprocessors = p.multiProcessorCount,
                  .memory = p.totalGlobalMem,
                  .memory_free = 0,
                  .l2 = static_cast<size_t>(p.l2CacheSize),
                  .driver = {},
                  .runtime = {},
                  .cublas = {}};
  size_t total = 0;
  check(cudaMemGetInfo(&info.memory_free, &total), "ask for free memory");
  int driver = 0, built = 0;
  check(cudaDriverGetVersion(&driver), "read the driver's version");
  check(cudaRuntimeGetVersion(&built), "read the runtime's version");
  info.driver = version_text(driver, 1000);
  info.runtime = version_text(built, 1000);
  info.cublas = version_text(static_cast<int>(cublasLtGetVersion()), 10000);
  return info;
}

void* allocate(int device, size_t bytes) {
  Runtime& r = runtime(device);
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "ask for free memory");
    const auto text = [](size_t n) { return format_bytes(static_cast<double>(n)); };
    throw_error(
        "out of memory on cuda:{}: {} wanted, {} of {} free (other processes on the GPU count: see "
        "nvidia-smi); `pivot plan` shows where memory goes and what would fit",
        device, text(bytes), text(free), text(total));
  }
  check(error, "allocate memory");
  check(cudaMemsetAsync(memory, 0, bytes, r.stream()), "clear memory");
  return memory;
}

void release(int device, void* memory) noexcept {
  // After a failed kernel this fails too; the error that matters was thrown already.
  static_cast<void>(cudaSetDevice(device));
  static_cast<void>(cudaFree(memory));
}

void copy_on_device(int device, void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, runtime(device).stream()),
        "copy memory");
}

void copy_from_host(int device, void* dst, const void* src, size_t bytes) {
  // From pageable memory the call returns when `src` has been read.
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, runtime(device).stream()),
        "copy memory to the device");
}

void copy_to_host(int device, void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, runtime(device).stream()),
        "copy memory from the device");
  synchronize(device);
}

void fill_zero(int device, void* dst, size_t bytes) {
  check(cudaMemsetAsync(dst, 0, bytes, runtime(device).stream()), "clear memory");
}

void synchronize(int device) {
  check(cudaStreamSynchronize(runtime(device).stream()), "finish the work of the device");
}

void* stream(int device) {
  return runtime(device).stream();
}

void check_launch(const char* what) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw_error("{}: the kernel did not start: {} ({})", what, cudaGetErrorString(error),
                cudaGetErrorName(error));
  }
}

bool recording(int device) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(runtime(device).stream(), &status), "ask for the stream's state");
  return status != cudaStreamCaptureStatusNone;
}

std::shared_ptr<void> shared_state(int device, std::type_index type,
                                   const std::function<std::shared_ptr<void>()>& make) {
  return runtime(device).shared(type, make);
}

struct Graph::State {
  int device = 0;
  cudaGraphExec_t executable = nullptr;

  ~State() {
    if (executable != nullptr) static_cast<void>(cudaGraphExecDestroy(executable));
  }
};

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

void Graph::record(int device, const std::function<void()>& body) {
  const cudaStream_t stream = runtime(device).stream();
  auto state = std::make_unique<State>();
  state->device = device;
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a graph");
  try {
    body();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(stream, &graph));
    if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
    static_cast<void>(cudaGetLastError());
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "end a graph");
  const cudaError_t error = cudaGraphInstantiate(&state->executable, graph, 0);
  static_cast<void>(cudaGraphDestroy(graph));
  check(error, "make a graph of the step");
  state_ = std::move(state);
}

bool Graph::recorded() const {
  return state_ != nullptr;
}

void Graph::launch() const {
  PIVOT_CHECK(recorded(), "a graph that was not recorded");
  check(cudaGraphLaunch(state_->executable, runtime(state_->device).stream()), "launch a graph");
}

Stopwatch::Stopwatch(int device) : device_(device), events_{} {
  runtime(device);
  for (void*& event : events_) {
    check(cudaEventCreate(reinterpret_cast<cudaEvent_t*>(&event)), "create an event");
  }
}

Stopwatch::~Stopwatch() {
  for (void* event : events_) static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
}

void Stopwatch::start() {
  check(cudaEventRecord(static_cast<cudaEvent_t>(events_[0]), runtime(device_).stream()),
        "record an event");
}

double Stopwatch::stop() {
  check(cudaEventRecord(static_cast<cudaEvent_t>(events_[1]), runtime(device_).stream()),
        "record an event");
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(events_[1])), "wait for an event");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(events_[0]),
                             static_cast<cudaEvent_t>(events_[1])),
        "measure time");
  return static_cast<double>(ms) * 1e-3;
}

}  // namespace pivot::cuda
