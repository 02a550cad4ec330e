#include "src/base/units.h"

#include <charconv>
#include <cmath>

#include "src/base/check.h"

namespace pivot {
namespace {

// Leading decimal number and what follows it.
std::pair<double, std::string_view> split_number(std::string_view text, const char* what) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || !std::isfinite(value)) throw_user("'{}' is not a {}", text, what);
  return {value, std::string_view(rest, static_cast<size_t>(end - rest))};
}

}  // namespace

int64_t parse_count(std::string_view text) {
  const auto [value, unit] = split_number(text, "count (examples: 300, 8K, 0.5M)");
  double scale = 1;
  if (unit == "K" || unit == "k") {
    scale = 0x1p10;
  } else if (unit == "M" || unit == "m") {
    scale = 0x1p20;
  } else if (unit == "G" || unit == "g") {
    scale = 0x1p30;
  } else if (!unit.empty()) {
    throw_user("'{}' is not a count: unknown unit '{}' (K, M or G)", text, unit);
  }
  const double result = value * scale;
  if (std::abs(result) > 0x1p53 || result != std::floor(result)) {
    throw_user("'{}' is not a whole number", text);
  }
  return static_cast<int64_t>(result);
}

std::string format_count(int64_t value) {
  if (value != 0 && value % (int64_t{1} << 30) == 0) return fmt::format("{}G", value >> 30);
  if (value != 0 && value % (int64_t{1} << 20) == 0) return fmt::format("{}M", value >> 20);
  if (value != 0 && value % (int64_t{1} << 10) == 0) return fmt::format("{}K", value >> 10);
  return fmt::format("{}", value);
}

double parse_duration(std::string_view text) {
  const auto [value, unit] = split_number(text, "duration (examples: 90s, 5m, 2h)");
  if (value < 0) throw_user("'{}' is a negative duration", text);
  if (unit.empty() || unit == "s") return value;
  if (unit == "m" || unit == "min") return value * 60;
  if (unit == "h") return value * 3600;
  if (unit == "d") return value * 86400;
  throw_user("'{}' is not a duration: unknown unit '{}' (s, m, h or d)", text, unit);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 60) return fmt::format("{:.1f}s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string format_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  while (std::abs(bytes) >= 1024 && unit < 5) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.3g} {}", bytes, kUnits[unit]);
}

std::string format_si(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P"};
  int unit = 0;
  while (std::abs(value) >= 1000 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

}  // namespace pivot
