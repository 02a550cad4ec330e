#include "tests/simt/fiber.h"

#include <algorithm>
#include <cstdint>

#if !defined(__x86_64__)
#include <memory>
#include <new>

#include <ucontext.h>
#endif

namespace pivot::simt {

#if defined(__x86_64__)

// Registers that a call preserves (System V ABI); the control words of floating point stay as they
// are for all fibers.
asm(R"(
.text
.type pivot_simt_switch, @function
pivot_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pivot_simt_switch, . - pivot_simt_switch
)");
extern "C" void pivot_simt_switch(void** save, void* load);

void switch_fiber(Fiber& from, const Fiber& to) {
  pivot_simt_switch(&from.stack_pointer, to.stack_pointer);
}

Fiber new_fiber(void* stack, size_t bytes, void (*entry)()) {
  // Upwards: six registers, the address that the switch returns to, and the one that `entry` would
  // return to: none, 8 below a multiple of 16 as after a call.
  auto** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16);
  void** bottom = top - 8;
  std::fill(bottom, top, nullptr);
  top[-2] = reinterpret_cast<void*>(entry);
  return {bottom};
}

#else

// A context at the far end of the stack, which its fiber does not reach.
void switch_fiber(Fiber& from, const Fiber& to) {
  ucontext_t here;
  from.stack_pointer = &here;
  ::swapcontext(&here, static_cast<ucontext_t*>(to.stack_pointer));
}

Fiber new_fiber(void* stack, size_t bytes, void (*entry)()) {
  auto* context = new (stack) ucontext_t;
  ::getcontext(context);
  context->uc_stack.ss_sp = static_cast<char*>(stack) + sizeof(ucontext_t);
  context->uc_stack.ss_size = bytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  ::makecontext(context, entry, 0);
  return {context};
}

#endif

}  // namespace pivot::simt
