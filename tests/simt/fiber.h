#pragma once
/// Switching between stacks.

#include <cstddef>

namespace pivot::simt {

/// A suspended flow of control: where its stack ends, with everything else saved on it.
struct Fiber {
  void* stack_pointer = nullptr;
};

/// Suspends the caller in `from` and goes on with `to`.
void switch_fiber(Fiber& from, const Fiber& to);

/// A fiber that will run `entry` on the stack of `bytes` at `stack`; `entry` never returns.
Fiber new_fiber(void* stack, size_t bytes, void (*entry)());

}  // namespace pivot::simt
