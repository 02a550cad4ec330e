#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/forward_tile.h"
#include "kernels/attention/row_math.h"
#include "kernels/attention/tile_product.h"

namespace pivot::attention {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// sums += weights values over the visible pairs of the strip. A weight of zero at an invisible key
// would turn a value that is not finite into NaN: such strips go row by row.
void add_values(const ForwardJob& job, const QueryTile& tile, int64_t strip, int64_t keys,
                ForwardSpace& space) {
  const int width = job.geometry.width;
  const float* values = job.values + strip * width;
  const auto add = [&](int64_t key, int64_t key_count, int64_t row, int64_t rows) {
    add_tile_product({.c = space.sums + row * width,
                      .c_stride = width,
                      .a = space.scores + row * space.stride + key,
                      .a_row = space.stride,
                      .a_inner = 1,
                      .b = values + key * width,
                      .b_stride = width,
                      .rows = rows,
                      .columns = width,
                      .inner = key_count});
  };
  const uint8_t* finite = job.value_finite + strip / kTileKeys;
  const bool all = std::all_of(finite, finite + (keys + kTileKeys - 1) / kTileKeys,
                               [](uint8_t flag) { return flag != 0; });
  if (all) {
    for_visible_parts(tile, strip, keys, [&](const Part& p) { add(p.key, p.keys, p.row, p.rows); });
    return;
  }
  for (int64_t row = 0; row < tile.rows(); ++row) {
    add(0, visible_keys(tile, row, strip, keys), row, 1);
  }
}

}  // namespace

float take_in(float* scores, int64_t count, float scale, float* max, float* sum, float* moment,
              float* weights) {
  const int64_t padded = round_up(count, kRowStep);
  std::fill(scores + count, scores + padded, -kInfinity);
  const float new_max = std::max(*max, row_max(scores, padded));
  // Nothing above -inf so far: any finite reference gives the weights 0.
  const float reference = new_max == -kInfinity ? 0.0F : new_max;
  float factor = 1;
  if (new_max > *max && *sum != 0.0F) {
    const float shift = scale * (*max - new_max);
    factor = std::exp(shift);
    if (moment != nullptr) {
      *moment = factor == 0.0F ? 0.0F : factor * (*moment + shift * *sum);
    }
    *sum *= factor;
  }
  *max = new_max;
  if (moment != nullptr) *moment += exp_moment(scores, padded, scale, reference);
  *sum += weights == nullptr ? exp_sum(scores, padded, scale, reference)
                             : exp_row(weights, scores, padded, scale, reference);
  return factor;
}

int64_t forward_dense_tile(const ForwardJob& job, const QueryTile& tile, ForwardSpace& space) {
  const AttentionForward& a = *job.args;
  const Geometry& g = job.geometry;
  const int64_t rows = tile.rows();
  std::fill(space.sums, space.sums + rows * g.width, 0.0F);
  std::fill(space.sum, space.sum + rows, 0.0F);
  std::fill(space.moment, space.moment + rows, 0.0F);
  std::fill(space.max, space.max + rows, -kInfinity);
  load_rows(
      tile,
      a.qkv.as<float>() + job.document.begin * g.qkv_stride + g.query_offset(job.kv_head * g.group),
      g.qkv_stride, g.width, space.queries);
  for (int64_t strip = 0; strip < tile.end(); strip += kDenseStrip) {
    const int64_t keys = std::min(kDenseStrip, tile.end() - strip);
    score_strip(tile, strip, keys, space.queries, job.key_tiles + strip * g.width, g.width,
                space.scores, space.stride);
    for (int64_t row = 0; row < rows; ++row) {
      float* scores = space.scores + row * space.stride;
      const int64_t visible = visible_keys(tile, row, strip, keys);
      if (visible > 0) {
        const float factor = take_in(scores, visible, a.scale, space.max + row, space.sum + row,
                                     a.entropy.present() ? space.moment + row : nullptr, scores);
        if (factor != 1.0F) scale_row(space.sums + row * g.width, g.width, factor);
      }
      std::fill(scores + visible, scores + round_up(keys, kTileKeys), 0.0F);
    }
    add_values(job, tile, strip, keys, space);
  }
  int64_t nan_rows = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const float max = space.max[row];
    const float lse = a.scale * max + std::log(space.sum[row]);
    const auto head = static_cast<int>(row / tile.count);
    nan_rows += store_row(job, tile.token(row), head,
                          {.max = max,
                           .sum = space.sum[row],
                           .moment = space.moment[row],
                           .lse_visible = lse,
                           .tau = -kInfinity,
                           .jcut = static_cast<int32_t>(job.document.begin + tile.token(row)),
                           .values = space.sums + row * g.width});
  }
  return nan_rows;
}

bool store_row(const ForwardJob& job, int64_t token, int head_of_group, const RowResult& row) {
  if (!std::isfinite(row.max) || !std::isfinite(row.sum) || row.sum <= 0.0F) {
    store_nan_row(job, token, head_of_group);
    return true;
  }
  const AttentionForward& a = *job.args;
  const Geometry& g = job.geometry;
  const int64_t at = (job.document.begin + token) * g.heads + job.kv_head * g.group + head_of_group;
  const float inverse = 1.0F / row.sum;
  float* out = a.out.as<float>() + at * g.width;
  for (int c = 0; c < g.width; ++c) out[c] = row.values[c] * inverse;
  const float log_sum = std::log(row.sum);
  a.lse.as<float>()[at] = a.scale * row.max + log_sum;
  a.tau.as<float>()[at] = row.tau;
  a.jcut.as<int32_t>()[at] = row.jcut;
  if (a.lse_visible.present()) a.lse_visible.as<float>()[at] = row.lse_visible;
  if (a.entropy.present()) a.entropy.as<float>()[at] = log_sum - row.moment * inverse;
  return false;
}

void store_nan_row(const ForwardJob& job, int64_t token, int head_of_group) {
  const AttentionForward& a = *job.args;
  const Geometry& g = job.geometry;
  const int64_t row = job.document.begin + token;
  const int64_t at = row * g.heads + job.kv_head * g.group + head_of_group;
  float* out = a.out.as<float>() + at * g.width;
  std::fill(out, out + g.width, kNan);
  a.lse.as<float>()[at] = kNan;
  a.tau.as<float>()[at] = -kInfinity;
  a.jcut.as<int32_t>()[at] = static_cast<int32_t>(row);
  if (a.lse_visible.present()) a.lse_visible.as<float>()[at] = kNan;
  if (a.entropy.present()) a.entropy.as<float>()[at] = kNan;
}

}  // namespace pivot::attention
