#include "src/base/philox.h"

#include "tests/support/catch.h"

namespace pivot {

// Known answers of the authors' library (Random123, kat_vectors, philox4x32 10 rounds).
TEST_CASE("philox gives the published values") {
  const Philox zero(0, static_cast<Stream>(0));
  const auto b = zero.block(0);
  CHECK(b.word[0] == 0x6627e8d5U);
  CHECK(b.word[1] == 0xe169c58dU);
  CHECK(b.word[2] == 0xbc57ac4cU);
  CHECK(b.word[3] == 0x9b00dbd8U);
  const Philox ones(~uint64_t{0}, static_cast<Stream>(~0U), ~0U);
  const auto c = ones.block(~uint64_t{0});
  CHECK(c.word[0] == 0x408f276dU);
  CHECK(c.word[1] == 0x41c83b0eU);
  CHECK(c.word[2] == 0xa20bc7c6U);
  CHECK(c.word[3] == 0x6d5451fdU);
}

TEST_CASE("streams and moments") {
  const Philox a(1, Stream::Test), b(1, Stream::Test, 1), c(2, Stream::Test);
  CHECK(a.bits(0) != b.bits(0));
  CHECK(a.bits(0) != c.bits(0));
  double mean = 0, square = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const double x = a.normal(static_cast<uint64_t>(i));
    mean += x / kCount;
    square += x * x / kCount;
    REQUIRE(a.below(7, static_cast<uint64_t>(i)) < 7);
    REQUIRE(a.uniform(static_cast<uint64_t>(i)) < 1.0F);
  }
  // Five standard errors of the mean and of the second moment.
  CHECK(std::abs(mean) < 5 / std::sqrt(kCount));
  CHECK(std::abs(square - 1) < 5 * std::sqrt(2.0 / kCount));
}

}  // namespace pivot
