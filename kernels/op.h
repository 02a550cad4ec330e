#pragma once
/// How an op is called: one call site, one twin per device, no fallback.
///
/// An op is a struct of arguments (every tensor with shape, dtype and direction), and
///   void check(const Args&);   throws BugError with both shapes unless the arguments fit
///   Cost cost(const Args&);    FLOPs and compulsory bytes: plan, roofline, MFU
///   void NAME_cpu(const Args&, Context&);
///   void NAME_cuda(const Args&, Context&);
///   inline constexpr Op<Args> NAME{"NAME", &NAME_cpu, PIVOT_CUDA_TWIN(NAME_cuda)};
/// and, only where a twin takes memory from ctx.scratch,
///   size_t scratch_bytes(const Args&, int workers);   of the CPU twin
///   size_t cuda_scratch_bytes(const Args&);           of the CUDA twin; defined in every build
///
/// Scratch. Twins do not run on the plan device, so what they take from ctx.scratch inside a call
/// has to be declared: scratch_bytes (declared in NAME.h beside check) is an upper bound of it for
/// a pool of `workers` threads, the sum of scratch_size() of the tensors alive at once;
/// cuda_scratch_bytes is exactly what the CUDA twin takes. The plan device reserves and releases
/// that much, so the arena's peak counts it; on real devices a call that takes the arena to a new
/// peak beyond its declaration throws BugError. Ops without scratch declare nothing.
///
/// CUDA twins launch on the device's stream and return: they never wait, allocate or read the
/// device's memory, and depend on nothing but the arguments, so that a step can be recorded as a
/// graph. (Choices that are measured once, like a GEMM's algorithm, are made outside of recording.)

#include <cstddef>

#include "src/base/check.h"
#include "src/core/context.h"
#include "src/core/cuda.h"

// CMake sets this for builds with CUDA kernels; without them the twin is absent and calls throw.
#if defined(PIVOT_WITH_CUDA)
#define PIVOT_CUDA_TWIN(function) &function
#else
#define PIVOT_CUDA_TWIN(function) nullptr
#endif

namespace pivot {

/// What the arena uses for one tensor of `count` elements (it aligns to 64 bytes).
constexpr size_t scratch_size(DType dtype, int64_t count) {
  return (static_cast<size_t>(count) * dtype_bytes(dtype) + 63) / 64 * 64;
}

/// Throws BugError unless the tensor holds activations or weights: F32 or BF16.
inline void expect_real(const Tensor& tensor, const char* name) {
  PIVOT_CHECK(tensor.dtype == DType::F32 || tensor.dtype == DType::BF16,
              "{} is {}, F32 or BF16 expected", name, dtype_name(tensor.dtype));
}

/// What the op declares for its twin on `target`, else 0.
template <class Args>
size_t declared_scratch(const Args& args, Device::Kind target, int workers) {
  if (target == Device::Kind::Cuda) {
    if constexpr (requires { cuda_scratch_bytes(args); }) return cuda_scratch_bytes(args);
    return 0;
  }
  static_assert(
      !requires { scratch_bytes(args); }, "scratch_bytes takes (args, workers)");
  if constexpr (requires { scratch_bytes(args, workers); }) {
    return scratch_bytes(args, workers);
  } else {
    return 0;
  }
}

template <class Args>
struct Op {
  using Twin = void (*)(const Args&, Context&);
  const char* name;
  Twin cpu;
  Twin cuda;

  void operator()(const Args& args, Context& ctx) const {
    check(args);
    if (ctx.ledger != nullptr) ctx.ledger->add(name, cost(args));
    const size_t scratch = declared_scratch(args, ctx.device.target(), ctx.pool.size());
    if (ctx.device.is_plan()) {
      const Arena::Scope scope = ctx.scratch.scope();
      if (scratch > 0) ctx.scratch.tensor(DType::U8, {static_cast<int64_t>(scratch)});
      return;
    }
    const Twin twin = ctx.device.kind == Device::Kind::Cpu ? cpu : cuda;
    if (twin == nullptr) throw_error("{}: no kernel for {}", name, to_string(ctx.device));
    const size_t before = ctx.scratch.used();
    const size_t peak = ctx.scratch.peak();
    twin(args, ctx);
    if (ctx.device.is_cuda()) cuda::check_launch(name);
    PIVOT_CHECK(ctx.scratch.peak() == peak || ctx.scratch.peak() <= before + scratch,
                "{} took {} bytes of scratch, {} declared", name, ctx.scratch.peak() - before,
                scratch);
  }
};

}  // namespace pivot
