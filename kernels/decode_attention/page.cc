#include "kernels/decode_attention/page.h"

#include <algorithm>
#include <limits>

#include "kernels/attention/score_tile.h"
#include "kernels/decode_attention/decode_attention.h"
#include "kernels/vec_math.h"

namespace pivot {
namespace decode {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
static_assert(kPageTokens % kTileKeys == 0);

}  // namespace

void take_scores(Partial& partial, float* scores, int64_t count, float scale, int64_t head_dim) {
  float top = -kInfinity;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < count; ++i) top = scores[i] > top ? scores[i] : top;
  if (top > partial.max) {
    const float factor = partial.max == -kInfinity ? 0.0F : vec_exp(scale * (partial.max - top));
    partial.sum *= factor;
    if (partial.acc != nullptr) {
      for (int64_t d = 0; d < head_dim; ++d) partial.acc[d] *= factor;
    }
    partial.max = top;
  }
  // With nothing but -inf so far every weight is 0, not exp(-inf + inf).
  const float base = partial.max == -kInfinity ? 0.0F : partial.max;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) {
    const float weight = vec_exp(scale * (scores[i] - base));
    scores[i] = weight;
    sum += weight;
  }
  partial.sum += sum;
}

bool any_nan(const float* scores, int64_t count) {
  int found = 0;
  for (int64_t i = 0; i < count; ++i) found |= static_cast<int>(scores[i] != scores[i]);
  return found != 0;
}

}  // namespace decode

void store_page_tokens(const PageView& page, int64_t first, int64_t count, int64_t head_dim,
                       const float* key, const float* value, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t token = first + i;
    float* tile = page.k_page + token / kTileKeys * key_tile_floats(head_dim);
    pack_key(tile, static_cast<int>(token % kTileKeys), key + i * stride,
             static_cast<int>(head_dim));
    std::copy(value + i * stride, value + i * stride + head_dim, page.v_page + token * head_dim);
  }
}

void load_page_key(const float* k_page, int64_t token, int64_t head_dim, float* out) {
  const float* tile = k_page + token / kTileKeys * key_tile_floats(head_dim);
  for (int64_t d = 0; d < head_dim; ++d) out[d] = tile[d * kTileKeys + token % kTileKeys];
}

}  // namespace pivot
