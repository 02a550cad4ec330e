// One libFuzzer program per target; PIVOT_FUZZ_TARGET names it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const pivot::fuzz::Target& target = pivot::fuzz::find_target(PIVOT_FUZZ_TARGET);
  pivot::fuzz::run(target, {reinterpret_cast<const char*>(data), size});
  return 0;
}
