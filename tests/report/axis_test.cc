#include "src/report/axis.h"

#include <cmath>

#include "tests/support/catch.h"

using namespace pivot::report;

TEST_CASE("ticks are multiples of 1, 2 or 5 and lie inside the axis", "[report]") {
  const double ranges[][2] = {{0, 1},       {0, 10},     {-3.2, 8.9},
                              {1e-5, 3e-5}, {0, 123456}, {99.7, 100.3}};
  for (const auto& range : ranges) {
    CAPTURE(range[0], range[1]);
    const Axis axis(Scale::Linear, range[0], range[1], 0, 100);
    const std::vector<double> ticks = axis.ticks(5);
    REQUIRE(ticks.size() >= 2);
    CHECK(ticks.size() <= 7);
    const double step = ticks[1] - ticks[0];
    const double mantissa = step / std::pow(10, std::floor(std::log10(step) + 1e-9));
    CHECK((std::abs(mantissa - 1) < 1e-6 || std::abs(mantissa - 2) < 1e-6 ||
           std::abs(mantissa - 5) < 1e-6));
    for (const double t : ticks) {
      CHECK(t >= range[0] - 1e-9 * std::abs(range[0]) - 1e-12);
      CHECK(t <= range[1] + 1e-9 * std::abs(range[1]));
    }
  }
}

TEST_CASE("zero is a tick, not a tiny remainder", "[report]") {
  for (const double t : Axis(Scale::Linear, -0.3, 0.3, 0, 1).ticks(6)) {
    CHECK((t == 0 || std::abs(t) > 0.01));
  }
}

TEST_CASE("axes map their ends to their pixels", "[report]") {
  const Axis linear(Scale::Linear, 10, 20, 300, 100);  // vertical: from the bottom up
  CHECK(linear.pixel(10) == Approx(300));
  CHECK(linear.pixel(20) == Approx(100));
  CHECK(linear.pixel(15) == Approx(200));
  const Axis log(Scale::Log, 0.01, 100, 0, 400);
  CHECK(log.pixel(0.01) == Approx(0).margin(1e-9));
  CHECK(log.pixel(1) == Approx(200));
  CHECK(log.pixel(100) == Approx(400));
}

TEST_CASE("a nice axis contains its range and ends on ticks", "[report]") {
  const Axis axis = Axis::nice(Scale::Linear, 1.63, 8.2, 0, 1);
  CHECK(axis.low() == Approx(0));
  CHECK(axis.high() == Approx(10));
}

TEST_CASE("a single value still has an axis around it", "[report]") {
  const Axis axis(Scale::Linear, 7, 7, 0, 100);
  CHECK(axis.low() < 7);
  CHECK(axis.high() > 7);
  const Axis zero(Scale::Linear, 0, 0, 0, 100);
  CHECK(zero.pixel(0) == Approx(50));
  const Axis log(Scale::Log, 4, 4, 0, 100);
  CHECK(log.pixel(4) == Approx(50));
}

TEST_CASE("logarithmic ticks are powers of ten, with 2 and 5 on short axes", "[report]") {
  CHECK(Axis(Scale::Log, 1, 100, 0, 1).ticks() == std::vector<double>{1, 2, 5, 10, 20, 50, 100});
  for (const double t : Axis(Scale::Log, 1e-4, 1e4, 0, 1).ticks()) {
    CHECK(std::log10(t) == Approx(std::round(std::log10(t))).margin(1e-9));
  }
}

TEST_CASE("short numbers", "[report]") {
  CHECK(short_number(0) == "0");
  CHECK(short_number(0.05) == "0.05");
  CHECK(short_number(-1.25) == "-1.25");
  CHECK(short_number(8192) == "8192");
  CHECK(short_number(20000) == "20k");
  CHECK(short_number(3e6) == "3M");
  CHECK(short_number(1e-4) == "0.0001");
  CHECK(short_number(2.5e-7) == "2.5e-07");
}
