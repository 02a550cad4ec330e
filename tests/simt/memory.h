#pragma once
/// What a block has of its own: shared memory and its threads' stacks.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/simt/fiber.h"

namespace pivot::simt {

/// A byte that is NaN in every float type and an absurd integer.
inline constexpr int kUninitialised = 0xFF;

/// Dynamic shared memory, 1024-byte aligned; uninitialised bytes between guards.
uint8_t* shared_memory();
void prepare_shared_memory(size_t bytes);
/// False if something was written next to the `bytes`.
bool shared_memory_intact(size_t bytes);

/// What kernels declare __shared__: thread-local data of the program without its libraries. A block
/// must not find there what an earlier one has left, and the host finds what it had.
class StaticShared {
 public:
  StaticShared();
  ~StaticShared();
  StaticShared(const StaticShared&) = delete;
  StaticShared& operator=(const StaticShared&) = delete;

  /// All bytes uninitialised.
  void forget() const;

 private:
  struct Range {
    std::byte* begin;
    size_t bytes;
  };
  Range ranges_[2];  // before and behind the dynamic shared memory
  std::vector<std::byte> saved_;
};

/// Stacks for the threads of a block, each above a page that must not be touched.
class Stacks {
 public:
  explicit Stacks(unsigned threads);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  /// A fiber on the stack of `thread`; the fiber before it must not go on.
  Fiber fiber(unsigned thread, void (*entry)()) const;

 private:
  uint8_t* at(unsigned thread) const;

  unsigned threads_;
  void* memory_;
};

}  // namespace pivot::simt
