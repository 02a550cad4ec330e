#include <vector>

#include "kernels/rope/rope.h"
#include "kernels/vec_math.h"

namespace pivot {
namespace {

constexpr int64_t kRowsPerTask = 32;

/// Sine and cosine of the angles of one position; `direction` is the sign of the angle.
void fill_angles(float* cosine, float* sine, float position, const float* frequencies, int64_t half,
                 double direction) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const SinCos turn = vec_sincos(static_cast<double>(position * frequencies[i]));
    cosine[i] = static_cast<float>(turn.cos);
    sine[i] = static_cast<float>(direction * turn.sin);
  }
}

/// Turns one head by the angles of its position.
void rotate(float* head, const float* cosine, const float* sine, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[i + half];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + half] = b * cosine[i] + a * sine[i];
  }
}

}  // namespace

void check(const Rope& a) {
  PIVOT_CHECK(a.qkv.shape.rank == 3, "qkv must be (N, H + 2 G, D), is {}", to_string(a.qkv.shape));
  expect_real(a.qkv, "qkv");
  const int64_t rows = a.qkv.dim(0);
  const int64_t width = a.qkv.dim(2);
  PIVOT_CHECK(a.heads > 0 && a.kv_heads > 0 && width % 2 == 0, "heads {}, kv_heads {}, D {}",
              a.heads, a.kv_heads, width);
  expect(a.qkv, a.qkv.dtype, {rows, a.heads + 2 * int64_t{a.kv_heads}, width}, "qkv");
  expect(a.positions, DType::I32, {rows}, "positions");
  expect(a.frequencies, DType::F32, {width / 2}, "frequencies");
}

Cost cost(const Rope& a) {
  const double rotated = static_cast<double>(a.qkv.dim(0)) * (a.heads + a.kv_heads) *
                         static_cast<double>(a.qkv.dim(2));
  return {3 * rotated, 2 * rotated * static_cast<double>(dtype_bytes(a.qkv.dtype))};
}

void rope_cpu(const Rope& a, Context& ctx) {
  const int64_t half = a.qkv.dim(2) / 2;
  const int64_t rotated = a.heads + a.kv_heads;
  const int64_t row_size = a.qkv.dim(1) * a.qkv.dim(2);
  const int32_t* positions = a.positions.as<int32_t>();
  const float* frequencies = a.frequencies.as<float>();
  float* qkv = a.qkv.as<float>();
  const double direction = a.direction == RopeDirection::Forward ? 1 : -1;
  // D / 2 vectorised sines a row serve all its heads: a table over positions would save nothing.
  ctx.pool.for_ranges(a.qkv.dim(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    std::vector<float> table(static_cast<size_t>(2 * half));
    float* cosine = table.data();
    float* sine = cosine + half;
    for (int64_t n = begin; n < end; ++n) {
      fill_angles(cosine, sine, static_cast<float>(positions[n]), frequencies, half, direction);
      for (int64_t h = 0; h < rotated; ++h)
        rotate(qkv + n * row_size + h * 2 * half, cosine, sine, half);
    }
  });
}

}  // namespace pivot
