#pragma once
/// Bump allocator: sized once, from a run on the plan device, and never grown inside a step.

#include <cstddef>

#include "src/core/device.h"
#include "src/core/tensor.h"

namespace pivot {

class Arena {
 public:
  /// On the plan device `capacity` is ignored: the arena only counts.
  Arena(Device device, size_t capacity);

  /// 64-byte aligned, uninitialised. Throws BugError when full (the plan was wrong).
  Tensor tensor(DType dtype, Shape shape);

  /// Gives back, when it ends, what was taken since it began.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
    ~Scope() { arena_.used_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };
  [[nodiscard]] Scope scope() { return Scope(*this); }

  size_t used() const { return used_; }
  size_t peak() const { return peak_; }
  size_t capacity() const { return buffer_.bytes(); }
  Device device() const { return device_; }

 private:
  Device device_;
  DeviceBuffer buffer_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace pivot
