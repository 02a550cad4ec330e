/// The fused cross-entropy of rows of logits against the formula in fp64.

#include "kernels/cross_entropy/softmax_rows.h"

#include <cmath>
#include <limits>

#include "kernels/cross_entropy/cross_entropy.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {
namespace {

constexpr float kScale = 0.125F;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
T to(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else {
    return to_bfloat16(x);
  }
}
float value(float x) {
  return x;
}
float value(BFloat16 x) {
  return to_float(x);
}
uint32_t bits(float x) {
  return std::bit_cast<uint32_t>(x);
}
uint32_t bits(BFloat16 x) {
  return x.bits;
}

/// Logits (rows, stride) with NaN in the padding, and one target per row.
template <class T>
struct Case {
  Case(int64_t row_count, int64_t vocabulary, double spread)
      : rows(row_count),
        vocab(vocabulary),
        stride((vocabulary + 63) / 64 * 64),
        z(static_cast<size_t>(rows * stride), to<T>(kNan)) {
    const Philox random(1, Stream::Test, 0);
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t v = 0; v < vocab; ++v) {
        at(n, v) = to<T>(static_cast<float>(spread * random.normal(n * vocab + v)));
      }
      targets.push_back(static_cast<int32_t>((n * 7919 + vocab - 1) % vocab));
    }
  }
  T& at(int64_t n, int64_t v) { return z[static_cast<size_t>(n * stride + v)]; }

  int64_t rows, vocab, stride;
  std::vector<T> z;
  std::vector<int32_t> targets;
};

template <class T>
struct Result {
  std::vector<float> loss;
  std::vector<T> dz;  // (rows, stride)
};

template <class T>
Result<T> run(const Case<T>& c, cuda::LogitGradient gradient) {
  CudaTestContext ctx;
  CudaBuffer z(ctx, {c.rows, c.stride}, c.z);
  CudaBuffer targets(ctx, {c.rows}, c.targets);
  CudaBuffer loss(ctx, DType::F32, {c.rows});
  cuda::softmax_rows({.logits = z,
                      .targets = targets,
                      .loss = loss,
                      .vocab = c.vocab,
                      .grad_scale = kScale,
                      .gradient = gradient},
                     ctx);
  Result<T> result{loss.download<float>(), z.download<T>()};
  CHECK(z.intact());
  CHECK(loss.intact());
  return result;
}

/// |got - want| for the worst element of row n, in units of its bound.
template <class T>
void check_row(Case<T>& c, const Result<T>& got, int64_t n) {
  const bool half = sizeof(T) == 2;
  double largest = -kInfinity;
  for (int64_t v = 0; v < c.vocab; ++v) largest = std::max<double>(largest, value(c.at(n, v)));
  double total = 0;
  for (int64_t v = 0; v < c.vocab; ++v) total += std::exp(value(c.at(n, v)) - largest);
  const int32_t target = c.targets[static_cast<size_t>(n)];
  const double distance = largest - value(c.at(n, target));
  const double loss = distance + std::log(total);
  // The sum's own error is far below V units; each exponential's 3 |x| + 6 weighs by its share.
  const double sum_error = (static_cast<double>(c.vocab) + 100) * 0x1p-24;
  INFO("row " << n << " of a vocabulary of " << c.vocab);
  CHECK(std::abs(got.loss[static_cast<size_t>(n)] - loss) <= sum_error + 3 * 0x1p-24 * loss);
  double worst = 0;
  for (int64_t v = 0; v < c.stride; ++v) {
    const float dz = value(got.dz[static_cast<size_t>(n * c.stride + v)]);
    if (v >= c.vocab) {
      worst = std::max(worst, dz == 0 ? 0.0 : 1e9);
      continue;
    }
    const double x = value(c.at(n, v)) - largest;
    const double p = std::exp(x) / total;
    const double want = kScale * (p - (v == target ? 1 : 0));
    const double relative = sum_error + (3 * std::abs(x) + 10) * 0x1p-24;
    // Denormals may be flushed; what is subtracted from 1 keeps the rounding of 1.
    const double bound = relative * kScale * p + (v == target ? 0x1p-23 * kScale : 0) +
                         (half ? 0x1p-8 * std::abs(want) : 0) + 0x1p-125;
    const double error = std::isnan(dz) ? kInfinity : std::abs(dz - want);
    worst = std::max(worst, error / bound);
  }
  CHECK(worst <= 1);
}

template <class T>
void check_case(Case<T> c) {
  const Result<T> got = run(c, cuda::LogitGradient::InPlace);
  for (int64_t n = 0; n < c.rows; ++n) check_row(c, got, n);
  const Result<T> forward = run(c, cuda::LogitGradient::Skip);
  CHECK(forward.loss == got.loss);
  for (size_t i = 0; i < c.z.size(); ++i) REQUIRE(bits(forward.dz[i]) == bits(c.z[i]));
}

template <class T>
void check_loss_and_gradient() {
  for (const int64_t vocab : {1, 2, 7, 8, 63, 65, 1000, 4096 + 5}) {
    check_case(Case<T>(3, vocab, 1));
    check_case(Case<T>(2, vocab, 12));
  }
}

template <class T>
void check_a_row_longer_than_shared_memory() {
  check_case(Case<T>(1, 130001, 3));
}

template <class T>
void check_targets_that_do_not_count() {
  Case<T> c(4, 77, 1);
  c.targets = {kIgnoreTarget, 77, 5, -2};
  c.at(0, 3) = to<T>(kNan);
  const Result<T> got = run(c, cuda::LogitGradient::InPlace);
  CHECK(got.loss[0] == 0);
  CHECK(std::isnan(got.loss[1]));
  CHECK(std::isnan(got.loss[3]));
  check_row(c, got, 2);
  for (int64_t v = 0; v < c.vocab; ++v) {
    REQUIRE(value(got.dz[static_cast<size_t>(v)]) == 0);
    REQUIRE(std::isnan(value(got.dz[static_cast<size_t>(c.stride + v)])));
    REQUIRE(std::isnan(value(got.dz[static_cast<size_t>(3 * c.stride + v)])));
  }
}

template <class T>
void check_infinities_and_nan() {
  const auto infinity = static_cast<float>(kInfinity);
  Case<T> c(4, 3000, 1);
  for (int64_t v = 0; v < c.vocab - 1; ++v) c.at(0, v) = to<T>(-infinity);
  c.targets[0] = static_cast<int32_t>(c.vocab - 1);  // the only finite logit
  for (int64_t v = 0; v < c.vocab; ++v) c.at(1, v) = to<T>(-infinity);
  c.at(2, 5) = to<T>(kNan);
  c.at(3, 2999) = to<T>(infinity);
  const Result<T> got = run(c, cuda::LogitGradient::InPlace);
  CHECK(got.loss[0] == 0);
  for (int64_t v = 0; v < c.stride; ++v) REQUIRE(value(got.dz[static_cast<size_t>(v)]) == 0);
  for (size_t n = 1; n < 4; ++n) {
    INFO("row " << n);
    CHECK(std::isnan(got.loss[n]));
    CHECK(std::isnan(value(got.dz[n * static_cast<size_t>(c.stride)])));
  }
}

}  // namespace

TEST_CASE("softmax of rows: loss and gradient", "[sanitize]") {
  check_loss_and_gradient<float>();
  check_loss_and_gradient<BFloat16>();
}

TEST_CASE("softmax of rows: a row longer than shared memory", "[sanitize]") {
  check_a_row_longer_than_shared_memory<float>();
  check_a_row_longer_than_shared_memory<BFloat16>();
}

TEST_CASE("softmax of rows: targets that do not count", "[sanitize]") {
  check_targets_that_do_not_count<float>();
  check_targets_that_do_not_count<BFloat16>();
}

TEST_CASE("softmax of rows: infinities and NaN", "[sanitize]") {
  check_infinities_and_nan<float>();
  check_infinities_and_nan<BFloat16>();
}

}  // namespace pivot::test
