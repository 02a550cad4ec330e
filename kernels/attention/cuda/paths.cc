#include "kernels/attention/cuda/paths.h"

namespace pivot::attention {

const char* to_string(CudaPath path) {
  switch (path) {
    case CudaPath::Naive:
      return "naive";
    case CudaPath::Tiled:
      return "tiled";
    case CudaPath::Cudnn:
      return "cudnn";
  }
  return "?";
}

CudaPath path_of(const AttentionPolicy& policy, DType dtype, int64_t width) {
  if (dtype != DType::BF16 || (width != 64 && width != 128)) return CudaPath::Naive;
  return policy.dense() && with_cudnn() ? CudaPath::Cudnn : CudaPath::Tiled;
}

}  // namespace pivot::attention
