#pragma once
/// Numbers as people write them: "8K", "0.5M", "2h", "1.5GiB".

#include <cstdint>
#include <string>
#include <string_view>

namespace pivot {

/// Counts: K, M, G are 1024-based ("8K" tokens = 8192), decimals allowed if the result is whole.
int64_t parse_count(std::string_view text);
/// 8192 -> "8K", 1000 -> "1000". Parses back equal.
std::string format_count(int64_t value);

/// Seconds from "90", "90s", "5m", "2h", "1d".
double parse_duration(std::string_view text);
/// 4215 -> "1h10m", 75 -> "1m15s", 9.4 -> "9.4s".
std::string format_duration(double seconds);

/// 1536 -> "1.5 KiB".
std::string format_bytes(double bytes);
/// 1234567 -> "1.23M" (decimal, for rates and parameter counts).
std::string format_si(double value);

}  // namespace pivot
