// Linked into tests that need a GPU: without one they end before they start, with the exit code
// that ctest counts as skipped.
#include <cstdlib>

#include <fmt/core.h>

#include "src/core/cuda.h"

namespace {

[[maybe_unused]] const bool present = [] {
  if (pivot::cuda::device_count() > 0) return true;
  fmt::print("skipped: no GPU ({})\n", pivot::cuda::why_unavailable());
  std::exit(77);
}();

}  // namespace
