#include "kernels/attention/row_math.h"

#include <limits>

#include "kernels/attention/vector.h"

namespace pivot::attention {
namespace {

using vector::broadcast;
using vector::fused;
using vector::load;
using vector::store;

constexpr int kLanes = vector::kNativeLanes;
constexpr int kParts = kRowStep / kLanes;
using Vector = vector::Vector<kLanes>;
using IntVector __attribute__((vector_size(kLanes * 4))) = int32_t;

[[gnu::always_inline]] inline Vector fma3(Vector a, Vector b, Vector c) {
  return fused<kLanes>(a, b, c);
}

// The method of kernels/vec_math.h, fused: argument reduced by n ln 2, minimax polynomial.
[[gnu::always_inline]] inline Vector exp_lanes(Vector x) {
  const Vector round = broadcast<kLanes>(0x1.8p23F);  // leaves the nearest integer in the low bits
  // Beyond these e^x is infinite or rounds to zero. A NaN passes both comparisons unchanged.
  x = x > 89.0F ? broadcast<kLanes>(89.0F) : x;
  x = x < -104.0F ? broadcast<kLanes>(-104.0F) : x;
  const Vector shifted = fma3(x, broadcast<kLanes>(0x1.715476p+0F), round);
  const IntVector n = (IntVector)shifted - (IntVector)round;
  const Vector whole = shifted - round;
  Vector r = fma3(whole, broadcast<kLanes>(-0x1.62ep-1F), x);
  r = fma3(whole, broadcast<kLanes>(-0x1.0bfbe8p-15F), r);
  Vector p = broadcast<kLanes>(0x1.9dfbbep-13F);
  p = fma3(p, r, broadcast<kLanes>(0x1.6d4cbep-10F));
  p = fma3(p, r, broadcast<kLanes>(0x1.11130ep-7F));
  p = fma3(p, r, broadcast<kLanes>(0x1.5554e8p-5F));
  p = fma3(p, r, broadcast<kLanes>(0x1.555554p-3F));
  p = fma3(p, r, broadcast<kLanes>(0.5F));
  p = fma3(p * r, r, r) + 1.0F;
  // 2^n in two steps: 2^128 and 2^-150 are not floats.
  const IntVector half = n >> 1;
  const auto scale1 = (Vector)((half + 127) << 23);
  const auto scale2 = (Vector)((n - half + 127) << 23);
  return p * scale1 * scale2;
}

struct Sums {
  Vector part[kParts] = {};

  float total() const {
    float lane[kRowStep];
    for (int v = 0; v < kParts; ++v) store<kLanes>(lane + v * kLanes, part[v]);
    for (int width = kRowStep / 2; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    }
    return lane[0];
  }
};

[[gnu::always_inline]] inline Vector exponent(const float* scores, float scale, float max) {
  return (load<kLanes>(scores) - broadcast<kLanes>(max)) * broadcast<kLanes>(scale);
}

}  // namespace

float row_max(const float* scores, int64_t count) {
  Vector best[kParts];
  for (Vector& b : best) b = broadcast<kLanes>(-std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < count; i += kRowStep) {
    for (int v = 0; v < kParts; ++v) {
      const Vector s = load<kLanes>(scores + i + v * kLanes);
      best[v] = s > best[v] ? s : best[v];
    }
  }
  float max = -std::numeric_limits<float>::infinity();
  for (int v = 0; v < kParts; ++v) {
    for (int l = 0; l < kLanes; ++l) max = best[v][l] > max ? best[v][l] : max;
  }
  return max;
}

float exp_row(float* weights, const float* scores, int64_t count, float scale, float max) {
  Sums sums;
  for (int64_t i = 0; i < count; i += kRowStep) {
    for (int v = 0; v < kParts; ++v) {
      const Vector e = exp_lanes(exponent(scores + i + v * kLanes, scale, max));
      store<kLanes>(weights + i + v * kLanes, e);
      sums.part[v] += e;
    }
  }
  return sums.total();
}

float exp_sum(const float* scores, int64_t count, float scale, float max) {
  Sums sums;
  for (int64_t i = 0; i < count; i += kRowStep) {
    for (int v = 0; v < kParts; ++v) {
      sums.part[v] += exp_lanes(exponent(scores + i + v * kLanes, scale, max));
    }
  }
  return sums.total();
}

float exp_moment(const float* scores, int64_t count, float scale, float max) {
  Sums sums;
  for (int64_t i = 0; i < count; i += kRowStep) {
    for (int v = 0; v < kParts; ++v) {
      const Vector x = exponent(scores + i + v * kLanes, scale, max);
      const Vector e = exp_lanes(x);
      sums.part[v] += e == 0.0F ? Vector{} : e * x;  // -inf * 0 is NaN
    }
  }
  return sums.total();
}

void probability_row(float* weights, const float* scores, int64_t count, float scale, float lse) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vector x =
        fma3(load<kLanes>(scores + i), broadcast<kLanes>(scale), broadcast<kLanes>(-lse));
    store<kLanes>(weights + i, exp_lanes(x));
  }
}

int64_t flag_above(uint8_t* flags, const float* scores, int64_t count, float gate) {
  int32_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto flag = static_cast<uint8_t>(!(scores[i] <= gate));
    flags[i] = flag;
    total += flag;
  }
  return total;
}

int64_t flag_at_least(uint8_t* flags, const float* scores, int64_t count, float tau) {
  int32_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto flag = static_cast<uint8_t>(!(scores[i] < tau));
    flags[i] = flag;
    total += flag;
  }
  return total;
}

void scale_row(float* values, int64_t count, float factor) {
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

bool all_finite(const float* values, int64_t count) {
  // x * 0 is 0 for finite x and NaN otherwise.
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += values[i] * 0.0F;
  return sum == 0.0F;
}

}  // namespace pivot::attention
