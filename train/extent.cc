#include "train/extent.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "src/base/check.h"
#include "src/base/units.h"

namespace pivot {
namespace {

// Shares are quotients of doubles; a boundary that is hit exactly must count as reached.
constexpr double kTolerance = 1e-9;

double parse_percent(std::string_view text, std::string_view key) {
  const std::string_view digits = text.substr(0, text.size() - 1);
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || !(value >= 0) ||
      value > 100) {
    throw_user("{}: '{}' is not a share of the run (0% to 100%)", key, text);
  }
  return value / 100;
}

// Seconds are told from steps by the unit: "10m" is time, "10M" steps.
bool is_time(std::string_view text) {
  return !text.empty() && std::string_view("smhdn").find(text.back()) != std::string_view::npos;
}

double limit_of(Extent::Unit unit, const RunLimits& limits) {
  switch (unit) {
    case Extent::Unit::Steps:
      return static_cast<double>(limits.steps);
    case Extent::Unit::Share:
      return 1;
    case Extent::Unit::Seconds:
      return limits.seconds;
  }
  return 0;
}

double place(Extent::Unit unit, const Position& p) {
  switch (unit) {
    case Extent::Unit::Steps:
      return static_cast<double>(p.step);
    case Extent::Unit::Share:
      return p.progress;
    case Extent::Unit::Seconds:
      return p.elapsed;
  }
  return 0;
}

}  // namespace

Position position_at(int64_t step, double elapsed, const RunLimits& limits) {
  Position p{step, elapsed, 0};
  if (limits.steps > 0) {
    p.progress = static_cast<double>(step) / static_cast<double>(limits.steps);
  }
  if (limits.seconds > 0) p.progress = std::max(p.progress, elapsed / limits.seconds);
  p.progress = std::min(p.progress, 1.0);
  return p;
}

Extent parse_extent(std::string_view text, std::string_view key) {
  if (text.empty()) throw_user("{}: empty; steps (200), share (5%) or time (10m)", key);
  if (text.back() == '%') return {Extent::Unit::Share, parse_percent(text, key)};
  try {
    if (is_time(text)) return {Extent::Unit::Seconds, parse_duration(text)};
    const int64_t steps = parse_count(text);
    if (steps < 0) throw_user("'{}' is negative", text);
    return {Extent::Unit::Steps, static_cast<double>(steps)};
  } catch (const UserError& e) {
    throw_user("{}: {}; give steps (200), a share of the run (5%) or a time (10m)", key, e.what());
  }
}

double share_of_run(const Extent& extent, const RunLimits& limits, std::string_view key) {
  if (extent.off()) return 0;
  const double limit = limit_of(extent.unit, limits);
  if (limit <= 0) {
    throw_user("{}: given in {}, but the run has no limit of that kind; use a share (5%)", key,
               extent.unit == Extent::Unit::Steps ? "steps" : "time");
  }
  return std::min(1.0, extent.value / limit);
}

bool due(const Extent& every, const Position& before, const Position& after) {
  if (every.off()) return false;
  const auto multiples = [&](const Position& p) {
    return std::floor(place(every.unit, p) / every.value + kTolerance);
  };
  return multiples(after) > multiples(before);
}

}  // namespace pivot
