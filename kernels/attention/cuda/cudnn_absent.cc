// Builds without cuDNN; see paths.h.
#include "kernels/attention/cuda/cudnn.h"
#include "kernels/attention/cuda/paths.h"

namespace pivot::attention {
namespace {

[[noreturn]] void absent() {
  throw_error(
      "attention by cuDNN: this build has no cuDNN (scripts/cuda_headers.sh fetches what "
      "it needs; then configure again)");
}

}  // namespace

bool with_cudnn() {
  return false;
}
void cudnn_forward(const AttentionForward&, Context&) {
  absent();
}
void cudnn_backward(const AttentionBackward&, Context&) {
  absent();
}

}  // namespace pivot::attention
