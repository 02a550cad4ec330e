#pragma once
/// Everything an op may touch. Passed by reference, never stored, never global.

#include "src/base/parallel.h"
#include "src/core/arena.h"
#include "src/core/cost.h"
#include "src/core/device.h"

namespace pivot {

struct Context {
  Device device;
  ThreadPool& pool;              // CPU workers
  Arena& scratch;                // temporaries and activations of the step
  CostLedger* ledger = nullptr;  // ops add their cost here if set (always set on the plan device)
};

/// dst = src; same dtype and count, both on the context's device. A no-op on the plan device.
void copy(const Tensor& dst, const Tensor& src, Context& ctx);
/// All bytes zero.
void fill_zero(const Tensor& dst, Context& ctx);

/// Host memory to and from the context's device; counts must match. `src` may be changed and `dst`
/// be read after the call: copy_to_host waits for everything that was launched before it.
void copy_from_host(const Tensor& dst, const void* src, Context& ctx);
void copy_to_host(void* dst, const Tensor& src, Context& ctx);

}  // namespace pivot
