#include "kernels/attention/cuda/paths.h"

#include "kernels/attention/cuda/cudnn.h"

namespace pivot::attention {
namespace {

template <class Args>
CudaPath path_of_call(const Args& a) {
  const CudaPath path = path_of(a.policy, a.qkv.dtype, a.qkv.dim(2));
  return path == CudaPath::Cudnn && !cudnn_takes(a) ? CudaPath::Tiled : path;
}

}  // namespace

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

CudaPath path_of(const AttentionForward& a) {
  return path_of_call(a);
}
CudaPath path_of(const AttentionBackward& a) {
  return path_of_call(a);
}

}  // namespace pivot::attention
