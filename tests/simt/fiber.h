#pragma once
/// Switching between stacks.

#include <cstddef>

namespace pivot::simt {

/// A suspended flow of control: where its stack ends, with everything else saved on it.
struct Fiber {
  void* stack_pointer = nullptr;
  void* stack = nullptr;  // lowest byte; null: the stack of the program's thread
  size_t bytes = 0;
};

/// Suspends the caller in `from` and goes on with `to`.
void switch_fiber(Fiber& from, const Fiber& to);

/// A fiber that will run `entry` on the stack of `bytes` at `stack`; `entry` begins with
/// enter_fiber() and never returns. The stack may be one that another fiber has left for good.
Fiber new_fiber(void* stack, size_t bytes, void (*entry)());
void enter_fiber();

}  // namespace pivot::simt
