// Scratch of the CUDA twins, planned in every build.

#include <algorithm>

#include "kernels/attention/attention.h"
#include "kernels/attention/cuda/paths.h"

namespace pivot {

using namespace attention;

size_t cuda_scratch_bytes(const AttentionForward& a) {
  if (a.qkv.dim(0) == 0) return 0;
  switch (path_of(a)) {
    case CudaPath::Naive:
      return naive_scratch(a);
    case CudaPath::Tiled:
      return tiled_scratch(a);
    case CudaPath::Cudnn:
      break;
  }
  if (!a.entropy.present()) return cudnn_scratch(a);
  // One after the other: cuDNN, then the tiled kernel for the entropy, into results nobody reads.
  const size_t unread = scratch_size(a.out.dtype, a.out.count()) +
                        2 * scratch_size(DType::F32, a.lse.count()) +
                        scratch_size(DType::I32, a.jcut.count());
  return std::max(cudnn_scratch(a), unread + tiled_scratch(a));
}

size_t cuda_scratch_bytes(const AttentionBackward& a) {
  if (a.qkv.dim(0) == 0) return 0;
  switch (path_of(a)) {
    case CudaPath::Naive:
      return naive_scratch(a);
    case CudaPath::Tiled:
      return tiled_scratch(a);
    case CudaPath::Cudnn:
      break;
  }
  return cudnn_scratch(a);
}

}  // namespace pivot
