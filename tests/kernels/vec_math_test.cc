#include "kernels/vec_math.h"

#include <cmath>
#include <limits>
#include <vector>

#include "src/base/philox.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Distance of `got` from the exact value in units of the last place of its float.
double ulps(float got, double exact) {
  if (static_cast<double>(got) == exact) return 0;
  const auto nearest = static_cast<float>(exact);
  if (std::isinf(nearest)) return std::isinf(got) ? 0 : kInf;
  const float next = std::nextafter(std::abs(nearest), kInf);
  const double unit = static_cast<double>(next) - static_cast<double>(std::abs(nearest));
  return std::abs(static_cast<double>(got) - exact) / unit;
}

std::vector<float> exp_of(const std::vector<float>& x) {
  std::vector<float> y(x.size());
#pragma omp simd
  for (size_t i = 0; i < x.size(); ++i) y[i] = vec_exp(x[i]);
  return y;
}

}  // namespace

TEST_CASE("vec_exp stays within two ulp over the whole range, subnormals included") {
  std::vector<float> x;
  for (int i = -110 * 4096; i <= 95 * 4096; ++i) x.push_back(static_cast<float>(i) / 4096.0F);
  const Philox random(1, Stream::Test);
  for (uint64_t i = 0; i < 200000; ++i) x.push_back(random.uniform(i) * 4.0F - 2.0F);
  for (const float tiny : {0.0F, -0.0F, 1e-30F, -1e-30F, 1e-45F}) x.push_back(tiny);
  const std::vector<float> y = exp_of(x);
  double worst = 0;
  float worst_x = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(y[i], std::exp(static_cast<double>(x[i])));
    if (error > worst) {
      worst = error;
      worst_x = x[i];
    }
  }
  INFO("worst error " << worst << " ulp at " << worst_x);
  CHECK(worst <= 2);
  CHECK(vec_exp(0.0F) == 1.0F);
}

TEST_CASE("vec_exp at the ends") {
  const std::vector<float> y = exp_of({-kInf, kInf, std::nanf(""), 88.8F, -104.1F, 1e30F, -1e30F,
                                       -std::numeric_limits<float>::max()});
  CHECK(y[0] == 0.0F);
  CHECK(y[1] == kInf);
  CHECK(std::isnan(y[2]));
  CHECK(y[3] == kInf);
  CHECK(y[4] == 0.0F);
  CHECK(y[5] == kInf);
  CHECK(y[6] == 0.0F);
  CHECK(y[7] == 0.0F);
}

TEST_CASE("vec_sincos rounds to the correct floats up to a million radians") {
  const Philox random(2, Stream::Test);
  constexpr size_t kCount = 300000;
  std::vector<double> x(kCount), sine(kCount), cosine(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    const double scale = std::exp2(static_cast<double>(i % 41) - 20);
    x[i] = static_cast<float>(scale * (2.0 * static_cast<double>(random.uniform(i)) - 1.0));
  }
#pragma omp simd
  for (size_t i = 0; i < kCount; ++i) {
    const SinCos y = vec_sincos(x[i]);
    sine[i] = y.sin;
    cosine[i] = y.cos;
  }
  double worst = 0;
  size_t float_differences = 0;
  for (size_t i = 0; i < kCount; ++i) {
    worst =
        std::max({worst, std::abs(sine[i] - std::sin(x[i])), std::abs(cosine[i] - std::cos(x[i]))});
    float_differences += static_cast<float>(sine[i]) != static_cast<float>(std::sin(x[i]));
    float_differences += static_cast<float>(cosine[i]) != static_cast<float>(std::cos(x[i]));
  }
  INFO("worst error " << worst);
  CHECK(worst < 4e-16);
  CHECK(float_differences == 0);
}

}  // namespace pivot
