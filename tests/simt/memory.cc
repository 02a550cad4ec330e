#include "tests/simt/memory.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <link.h>
#include <sys/mman.h>

#include "tests/simt/engine.h"

namespace pivot::simt {
namespace {

constexpr size_t kStack = 128 * 1024;
constexpr size_t kPage = 4096;
constexpr size_t kGuard = 1024;
constexpr std::byte kGuardByte{0xA5};

// Thread-local like static __shared__ arrays, so that 32 bits can tell where something is in either
// (shared_address).
alignas(kGuard) thread_local std::byte dynamic_memory[kGuard + kMaxShared + kGuard];

struct ThreadLocal {
  std::byte* begin = nullptr;
  size_t bytes = 0;
};

int find_thread_local(dl_phdr_info* program, size_t, void* result) {
  ThreadLocal& found = *static_cast<ThreadLocal*>(result);
  found.begin = static_cast<std::byte*>(program->dlpi_tls_data);
  for (int i = 0; i < program->dlpi_phnum; ++i) {
    if (program->dlpi_phdr[i].p_type == PT_TLS) found.bytes = program->dlpi_phdr[i].p_memsz;
  }
  return 1;  // the program comes first, its libraries are not looked at
}

}  // namespace

uint8_t* shared_memory() {
  return reinterpret_cast<uint8_t*>(dynamic_memory + kGuard);
}

void prepare_shared_memory(size_t bytes) {
  std::memset(dynamic_memory, static_cast<int>(kGuardByte), kGuard);
  std::memset(dynamic_memory + kGuard, kUninitialised, bytes);
  std::memset(dynamic_memory + kGuard + bytes, static_cast<int>(kGuardByte), kGuard);
}

bool shared_memory_intact(size_t bytes) {
  const auto untouched = [](const std::byte* guard) {
    return std::all_of(guard, guard + kGuard, [](std::byte b) { return b == kGuardByte; });
  };
  return untouched(dynamic_memory) && untouched(dynamic_memory + kGuard + bytes);
}

StaticShared::StaticShared() {
  ThreadLocal all;
  ::dl_iterate_phdr(&find_thread_local, &all);
  std::byte* const end = all.begin + all.bytes;
  std::byte* const dynamic_end = dynamic_memory + sizeof(dynamic_memory);
  if (all.begin > dynamic_memory || end < dynamic_end) {
    throw std::logic_error("shared memory is not where the program's thread-local data are");
  }
  ranges_[0] = {all.begin, static_cast<size_t>(dynamic_memory - all.begin)};
  ranges_[1] = {dynamic_end, static_cast<size_t>(end - dynamic_end)};
  for (const Range& r : ranges_) saved_.insert(saved_.end(), r.begin, r.begin + r.bytes);
}

StaticShared::~StaticShared() {
  std::memcpy(ranges_[0].begin, saved_.data(), ranges_[0].bytes);
  std::memcpy(ranges_[1].begin, saved_.data() + ranges_[0].bytes, ranges_[1].bytes);
}

void StaticShared::forget() const {
  for (const Range& r : ranges_) std::memset(r.begin, kUninitialised, r.bytes);
}

Stacks::Stacks(unsigned threads) : threads_(threads) {
  memory_ = ::mmap(nullptr, threads * kStack, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory_ == MAP_FAILED) throw std::runtime_error("no memory for the threads' stacks");
  for (unsigned t = 0; t < threads; ++t) ::mprotect(at(t), kPage, PROT_NONE);
}

Stacks::~Stacks() {
  ::munmap(memory_, threads_ * kStack);
}

uint8_t* Stacks::at(unsigned thread) const {
  return static_cast<uint8_t*>(memory_) + thread * kStack;
}

Fiber Stacks::fiber(unsigned thread, void (*entry)()) const {
  // Tops at different distances from the stacks' alignment: they would share few cache lines.
  const size_t stagger = thread % 61 * 192;
  return new_fiber(at(thread) + kPage, kStack - kPage - stagger, entry);
}

}  // namespace pivot::simt
