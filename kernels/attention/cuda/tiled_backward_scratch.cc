#include "kernels/attention/cuda/backward.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/attention/cuda/tiles.h"

namespace pivot::attention {

size_t tiled_scratch(const AttentionBackward& a) {
  const int64_t tokens = a.qkv.dim(0);
  if (tokens == 0) return 0;
  return scratch_size(DType::F32, int64_t{a.heads} * tokens * 4) +
         scratch_size(DType::U8, int64_t{a.kv_heads} * tokens) +
         tiles_scratch(tokens, a.doc_offsets.dim(0) - 1, kBackwardRows);
}

}  // namespace pivot::attention
