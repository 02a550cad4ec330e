#pragma once
/// How an op is called: one call site, one twin per device, no fallback.
///
/// An op is a struct of arguments (every tensor with shape, dtype and direction), and
///   void check(const Args&);   throws BugError with both shapes unless the arguments fit
///   Cost cost(const Args&);    FLOPs and compulsory bytes: plan, roofline, MFU
///   void NAME_cpu(const Args&, Context&);
///   void NAME_cuda(const Args&, Context&);
///   inline constexpr Op<Args> NAME{"NAME", &NAME_cpu, PIVOT_CUDA_TWIN(NAME_cuda)};

#include "src/base/check.h"
#include "src/core/context.h"

// CMake sets this for builds with CUDA kernels; without them the twin is absent and calls throw.
#if defined(PIVOT_WITH_CUDA)
#define PIVOT_CUDA_TWIN(function) &function
#else
#define PIVOT_CUDA_TWIN(function) nullptr
#endif

namespace pivot {

template <class Args>
struct Op {
  using Twin = void (*)(const Args&, Context&);
  const char* name;
  Twin cpu;
  Twin cuda;

  void operator()(const Args& args, Context& ctx) const {
    check(args);
    if (ctx.ledger != nullptr) ctx.ledger->add(name, cost(args));
    if (ctx.device.is_plan()) return;
    const Twin twin = ctx.device.kind == Device::Kind::Cpu ? cpu : cuda;
    if (twin == nullptr) throw_error("{}: no kernel for {}", name, to_string(ctx.device));
    twin(args, ctx);
  }
};

}  // namespace pivot
