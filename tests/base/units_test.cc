#include "src/base/units.h"

#include "src/base/check.h"
#include "src/base/rational.h"
#include "tests/support/catch.h"

namespace pivot {

TEST_CASE("counts take binary suffixes and print back") {
  CHECK(parse_count("8K") == 8192);
  CHECK(parse_count("0.5M") == 524288);
  CHECK(parse_count("300") == 300);
  for (const int64_t n : {int64_t{1}, int64_t{1000}, int64_t{8192}, int64_t{3} << 20}) {
    CHECK(parse_count(format_count(n)) == n);
  }
  for (const char* bad : {"", "8Q", "1.0001", "x", "1e400"}) {
    CHECK_THROWS_AS(parse_count(bad), UserError);
  }
}

TEST_CASE("durations") {
  CHECK(parse_duration("2h") == 7200);
  CHECK(parse_duration("90") == 90);
  CHECK(format_duration(4215) == "1h10m");
  CHECK_THROWS_AS(parse_duration("-3s"), UserError);
}

TEST_CASE("ratios are exact") {
  CHECK(parse_rational("1%") == Rational{1, 100});
  CHECK(parse_rational("0.5%") == Rational{1, 200});
  CHECK(parse_rational("0.01") == Rational{1, 100});
  CHECK(parse_rational("2/6") == Rational{1, 3});
  CHECK(parse_rational("100%") == Rational{1, 1});
  for (const char* text : {"1%", "0.05%", "1/3", "12.5%", "100%", "0%"}) {
    CHECK(to_string(parse_rational(text)) == text);
  }
  for (const char* bad : {"", "%", "-1%", "1/0", "one", "1.%", "0.0000000001"}) {
    CHECK_THROWS_AS(parse_rational(bad), UserError);
  }
  CHECK(ceil_mul({1, 100}, 100) == 1);
  CHECK(ceil_mul({1, 100}, 101) == 2);
  CHECK(ceil_mul({1, 3}, 0) == 0);
}

}  // namespace pivot
