#pragma once
/// A CPU (or plan) context with its own arena and pool, for tests of ops and models.

#include "src/core/context.h"

namespace pivot::test {

struct TestContext {
  explicit TestContext(size_t bytes = size_t{1} << 28, int threads = 2,
                       Device device = {Device::Kind::Cpu, 0})
      : pool(threads), arena(device, bytes), ctx{device, pool, arena, &ledger} {}

  ThreadPool pool;
  Arena arena;
  CostLedger ledger;
  Context ctx;

  operator Context&() { return ctx; }
};

}  // namespace pivot::test
