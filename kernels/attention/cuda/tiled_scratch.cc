#include <algorithm>

#include "kernels/attention/cuda/forward.h"
#include "kernels/attention/cuda/paths.h"
#include "kernels/attention/cuda/select.h"
#include "kernels/attention/cuda/tiles.h"

namespace pivot::attention {

// The lists of tiles of select_sets and masked_forward, which is taken after the other is given
// back, and the latter's flags.
size_t tiled_scratch(const AttentionForward& a) {
  const int64_t tokens = a.qkv.dim(0);
  const int64_t documents = a.doc_offsets.dim(0) - 1;
  if (tokens == 0) return 0;
  return tiles_scratch(tokens, documents, kForwardRows) + scratch_size(DType::I32, a.kv_heads);
}

}  // namespace pivot::attention
