#include "tests/simt/fiber.h"

#include <algorithm>
#include <cstdint>

#if !defined(__x86_64__)
#include <new>

#include <ucontext.h>
#endif

// AddressSanitizer has to know which stack is in use.
#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace pivot::simt {
namespace {

#if defined(__SANITIZE_ADDRESS__)

void* leave_stack(const Fiber& to) {
  void* stack = to.stack;
  size_t bytes = to.bytes;
  if (stack == nullptr) {
    pthread_attr_t attributes;
    ::pthread_getattr_np(::pthread_self(), &attributes);
    ::pthread_attr_getstack(&attributes, &stack, &bytes);
    ::pthread_attr_destroy(&attributes);
  }
  void* frames = nullptr;
  __sanitizer_start_switch_fiber(&frames, stack, bytes);
  return frames;
}
void return_to_stack(void* frames) {
  __sanitizer_finish_switch_fiber(frames, nullptr, nullptr);
}
void forget_frames(void* stack, size_t bytes) {
  __asan_unpoison_memory_region(stack, bytes);
}

#else

void* leave_stack(const Fiber&) {
  return nullptr;
}
void return_to_stack(void*) {}
void forget_frames(void*, size_t) {}

#endif

}  // namespace

void enter_fiber() {
  return_to_stack(nullptr);
}

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
  void* frames = leave_stack(to);
  pivot_simt_switch(&from.stack_pointer, to.stack_pointer);
  return_to_stack(frames);
}

Fiber new_fiber(void* stack, size_t bytes, void (*entry)()) {
  forget_frames(stack, bytes);
  // Upwards: six registers, the address that the switch returns to, and the one that `entry` would
  // return to: none, 8 below a multiple of 16 as after a call.
  auto** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16);
  void** bottom = top - 8;
  std::fill(bottom, top, nullptr);
  top[-2] = reinterpret_cast<void*>(entry);
  return {bottom, stack, bytes};
}

#else

// A context at the far end of the stack, which its fiber does not reach.
void switch_fiber(Fiber& from, const Fiber& to) {
  ucontext_t here;
  from.stack_pointer = &here;
  void* frames = leave_stack(to);
  ::swapcontext(&here, static_cast<ucontext_t*>(to.stack_pointer));
  return_to_stack(frames);
}

Fiber new_fiber(void* stack, size_t bytes, void (*entry)()) {
  forget_frames(stack, bytes);
  auto* context = new (stack) ucontext_t;
  ::getcontext(context);
  context->uc_stack.ss_sp = static_cast<char*>(stack) + sizeof(ucontext_t);
  context->uc_stack.ss_size = bytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  ::makecontext(context, entry, 0);
  return {context, stack, bytes};
}

#endif

}  // namespace pivot::simt
