#include "src/report/axis.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "src/base/check.h"

namespace pivot::report {
namespace {

std::vector<double> log_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  std::vector<double> multiples = {1};
  if (decades <= 3) multiples = {1, 2, 5};
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 6)));
  std::vector<double> ticks;
  for (int e = static_cast<int>(std::floor(std::log10(low))); e <= std::log10(high) + 1e-9;
       e += stride) {
    for (const double m : multiples) {
      const double tick = m * std::pow(10.0, e);
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push_back(tick);
    }
  }
  return ticks;
}

}  // namespace

double nice_step(double range, int wanted) {
  PIVOT_CHECK(range > 0 && wanted > 0, "a step for range {} and {} ticks", range, wanted);
  const double raw = range / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double m : {1.0, 2.0, 5.0}) {
    if (raw <= m * power * (1 + 1e-9)) return m * power;
  }
  return 10 * power;
}

Axis::Axis(Scale scale, double low, double high, double from, double to)
    : scale_(scale), low_(low), high_(high), from_(from), to_(to) {
  PIVOT_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high, "axis from {} to {}", low,
              high);
  PIVOT_CHECK(scale == Scale::Linear || low > 0, "a logarithmic axis starts at {}", low);
  if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high)) || high == low) {
    if (scale == Scale::Log) {
      low_ = low / 2;
      high_ = high * 2;
    } else {
      const double pad = low == 0 ? 1 : std::abs(low) / 10;
      low_ = low - pad;
      high_ = high + pad;
    }
  }
}

Axis Axis::nice(Scale scale, double low, double high, double from, double to) {
  Axis axis(scale, low, high, from, to);
  if (scale == Scale::Linear) {
    const double step = nice_step(axis.high_ - axis.low_, 5);
    axis.low_ = std::floor(axis.low_ / step + 1e-9) * step;
    axis.high_ = std::ceil(axis.high_ / step - 1e-9) * step;
  }
  return axis;
}

double Axis::pixel(double value) const {
  const double share = scale_ == Scale::Linear ? (value - low_) / (high_ - low_)
                                               : std::log(value / low_) / std::log(high_ / low_);
  return from_ + share * (to_ - from_);
}

std::vector<double> Axis::ticks(int wanted) const {
  if (scale_ == Scale::Log) {
    std::vector<double> ticks = log_ticks(low_, high_);
    if (ticks.size() >= 2) return ticks;
  }
  const double step = nice_step(high_ - low_, wanted);
  std::vector<double> ticks;
  for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + 1e-9 * step; ++i) {
    ticks.push_back(i == 0 ? 0.0 : i * step);
  }
  return ticks;
}

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 1e12 || size < 1e-3) return fmt::format("{:.3g}", value);
  if (size >= 1e9) return fmt::format("{:.4g}G", value / 1e9);
  if (size >= 1e6) return fmt::format("{:.4g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g}k", value / 1e3);
  return fmt::format("{:.4g}", value);
}

}  // namespace pivot::report
