// What the compiler's checks of emulated kernels call (-fsanitize in scripts/cmake, the interface
// of GCC and clang): the test fails instead of the program. On GPUs misaligned accesses end the
// kernel, and the others give what neither the standard nor the CPU says.
#include <cstdint>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "tests/simt/engine.h"

namespace {

// How the compiler describes a check; all begin with the place.
struct Check {
  const char* file;
  uint32_t line;
  uint32_t column;
};
struct TypeCheck {
  Check check;
  const void* type;
  uint8_t log2_alignment;
  uint8_t kind;
};

[[noreturn]] void fail(const Check* check, std::string what) {
  pivot::simt::fault(std::move(what), check->file, check->line);
}

}  // namespace

extern "C" {

[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const TypeCheck* check, uintptr_t) {
  fail(&check->check,
       fmt::format("an access that is not aligned to {} bytes", 1U << check->log2_alignment));
}
[[noreturn]] void __ubsan_handle_out_of_bounds_abort(const Check* check, uintptr_t) {
  fail(check, "an index outside its array");
}
[[noreturn]] void __ubsan_handle_shift_out_of_bounds_abort(const Check* check, uintptr_t,
                                                           uintptr_t) {
  fail(check, "a shift by more than the type's bits");
}
[[noreturn]] void __ubsan_handle_add_overflow_abort(const Check* check, uintptr_t, uintptr_t) {
  fail(check, "an overflow of signed integers");
}
[[noreturn]] void __ubsan_handle_sub_overflow_abort(const Check* check, uintptr_t, uintptr_t) {
  fail(check, "an overflow of signed integers");
}
[[noreturn]] void __ubsan_handle_mul_overflow_abort(const Check* check, uintptr_t, uintptr_t) {
  fail(check, "an overflow of signed integers");
}
[[noreturn]] void __ubsan_handle_negate_overflow_abort(const Check* check, uintptr_t) {
  fail(check, "an overflow of signed integers");
}
[[noreturn]] void __ubsan_handle_divrem_overflow_abort(const Check* check, uintptr_t, uintptr_t) {
  fail(check, "a quotient that overflows");
}

}  // extern "C"
