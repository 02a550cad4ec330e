#include "train/machine.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

#include "src/base/check.h"

namespace pivot {
namespace {

size_t read_kib(const std::string& wanted) {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  size_t value = 0;
  while (file >> key >> value) {
    if (key == wanted) return value * 1024;
    std::getline(file, unit);
  }
  return 0;
}

// 0 where there is no such file or no limit ("max").
size_t read_number(const char* path) {
  std::ifstream file(path);
  size_t value = 0;
  return file >> value ? value : 0;
}

// File pages that the kernel drops when memory is asked for count as used in memory.current.
size_t droppable_file_pages() {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::string key;
  size_t value = 0;
  while (file >> key >> value) {
    if (key == "inactive_file") return value;
  }
  return 0;
}

}  // namespace

MachineMemory machine_memory() {
  MachineMemory m{read_kib("MemTotal:"), read_kib("MemAvailable:")};
  const size_t limit = read_number("/sys/fs/cgroup/memory.max");
  if (limit > 0 && limit < m.total) {
    const size_t current = read_number("/sys/fs/cgroup/memory.current");
    const size_t used = current - std::min(current, droppable_file_pages());
    m.total = limit;
    m.available = std::min(m.available, limit > used ? limit - used : 0);
  }
  return m;
}

size_t parse_bytes(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  std::string_view unit(rest, static_cast<size_t>(end - rest));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  if (error != std::errc{} || !(value >= 0)) {
    throw_user("'{}' is not an amount of memory (examples: 4GiB, 512MiB)", text);
  }
  constexpr std::string_view kUnits = "KMGT";
  double scale = 1;
  if (!unit.empty() && unit != "B") {
    const char letter = static_cast<char>(unit.front() & ~0x20);
    const size_t power = kUnits.find(letter);
    const std::string_view tail = unit.substr(1);
    if (power == std::string_view::npos || !(tail.empty() || tail == "iB" || tail == "B")) {
      throw_user("'{}': unknown unit '{}' (KiB, MiB, GiB or TiB)", text, unit);
    }
    for (size_t i = 0; i <= power; ++i) scale *= 1024;
  }
  if (value * scale >= 0x1p63) throw_user("'{}' is more memory than there can be", text);
  return static_cast<size_t>(value * scale);
}

}  // namespace pivot
