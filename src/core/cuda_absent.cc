// Builds without CUDA: there is no device, and nothing else is ever called.
#include "src/base/check.h"
#include "src/core/cuda.h"

namespace pivot::cuda {
namespace {

[[noreturn]] void absent() {
  throw_error("{}", why_unavailable());
}

}  // namespace

int device_count() {
  return 0;
}
std::string why_unavailable() {
  return "this build has no CUDA support";
}
DeviceInfo device_info(int) {
  absent();
}
void* allocate(int, size_t) {
  absent();
}
void release(int, void*) noexcept {}
void copy_on_device(int, void*, const void*, size_t) {
  absent();
}
void copy_from_host(int, void*, const void*, size_t) {
  absent();
}
void copy_to_host(int, void*, const void*, size_t) {
  absent();
}
void fill_zero(int, void*, size_t) {
  absent();
}
void synchronize(int) {
  absent();
}
void* stream(int) {
  absent();
}
void check_launch(const char*) {
  absent();
}
bool recording(int) {
  return false;
}
std::shared_ptr<void> shared_state(int, std::type_index,
                                   const std::function<std::shared_ptr<void>()>&) {
  absent();
}

struct Graph::State {};
Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
void Graph::record(int, const std::function<void()>&) {
  absent();
}
bool Graph::recorded() const {
  return false;
}
void Graph::launch() const {
  absent();
}

Stopwatch::Stopwatch(int device) : device_(device), events_{} {
  absent();
}
Stopwatch::~Stopwatch() = default;
void Stopwatch::start() {}
double Stopwatch::stop() {
  return 0;
}

}  // namespace pivot::cuda
