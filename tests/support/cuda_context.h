#pragma once
/// A context on the GPU, in tests without one on the emulated device (docs/simt.md): the same code.

#include <cstring>
#include <vector>

#include "kernels/op.h"
#include "src/core/context.h"
#include "src/core/cuda.h"
#include "tests/support/catch.h"

namespace pivot::test {

struct CudaTestContext {
  explicit CudaTestContext(size_t arena_bytes = size_t{1} << 26)
      : device(parse_device("cuda")),
        pool(1),
        arena(device, arena_bytes),
        ctx{device, pool, arena, &ledger} {}

  /// Waits; throws if a kernel has failed.
  void synchronize() { cuda::synchronize(device.index); }

  Device device;
  ThreadPool pool;
  Arena arena;
  CostLedger ledger;
  Context ctx;

  operator Context&() { return ctx; }
};

/// A tensor in device memory between guard bytes, every element NaN (or an absurd integer) at
/// first.
class CudaBuffer {
 public:
  CudaBuffer(Context& ctx, DType dtype, const Shape& shape)
      : ctx_(&ctx), dtype_(dtype), shape_(shape), bytes_(Tensor{nullptr, dtype, shape}.bytes()) {
    memory_ = DeviceBuffer(ctx.device, bytes_ + 2 * kGuard);
    std::vector<uint8_t> host(bytes_ + 2 * kGuard, kPattern);
    std::memset(host.data() + kGuard, 0xFF, bytes_);
    copy_from_host(whole(), host.data(), ctx);
  }
  template <class T>
  CudaBuffer(Context& ctx, const Shape& shape, const std::vector<T>& values)
      : CudaBuffer(ctx, DTypeOf<T>::kValue, shape) {
    upload(values);
  }

  Tensor tensor() const { return {static_cast<uint8_t*>(memory_.data()) + kGuard, dtype_, shape_}; }
  operator Tensor() const { return tensor(); }

  template <class T>
  void upload(const std::vector<T>& values) {
    expect<T>(values.size());
    copy_from_host(tensor(), values.data(), *ctx_);
  }
  /// Waits for the kernels before it.
  template <class T>
  std::vector<T> download() const {
    std::vector<T> values(bytes_ / sizeof(T));
    expect<T>(values.size());
    copy_to_host(values.data(), tensor(), *ctx_);
    return values;
  }
  /// False if a byte outside the tensor was written.
  bool intact() const {
    std::vector<uint8_t> host(bytes_ + 2 * kGuard);
    copy_to_host(host.data(), whole(), *ctx_);
    for (size_t i = 0; i < kGuard; ++i) {
      if (host[i] != kPattern || host[kGuard + bytes_ + i] != kPattern) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr uint8_t kPattern = 0xA5;

  Tensor whole() const {
    return {memory_.data(), DType::U8, {static_cast<int64_t>(bytes_ + 2 * kGuard)}};
  }
  template <class T>
  void expect(size_t count) const {
    PIVOT_CHECK(DTypeOf<T>::kValue == dtype_ && count * sizeof(T) == bytes_,
                "{} values for a {} tensor of {} bytes", count, dtype_name(dtype_), bytes_);
  }

  Context* ctx_;
  DType dtype_;
  Shape shape_;
  size_t bytes_;
  DeviceBuffer memory_;
};

/// Runs the CUDA twin of `op` (named, because builds without CUDA know no twins) as the op would:
/// with scratch memory that holds NaN, of exactly the declared size, all of which it has to take.
template <class Args>
void run_twin(typename Op<Args>::Twin twin, const Op<Args>& op, const Args& args, Context& ctx) {
  const size_t declared = declared_scratch(args, Device::Kind::Cuda, 1);
  Arena arena(ctx.device, declared);
  const std::vector<uint8_t> unset(declared, 0xFF);
  const Tensor nothing = arena.tensor(DType::U8, {0});
  copy_from_host({nothing.data, DType::U8, {static_cast<int64_t>(declared)}}, unset.data(), ctx);
  Context inner{ctx.device, ctx.pool, arena, ctx.ledger};
  Op<Args>{op.name, op.cpu, twin}(args, inner);
  cuda::synchronize(ctx.device.index);
  CHECK(arena.peak() == declared);
  CHECK(arena.used() == 0);
}

}  // namespace pivot::test
