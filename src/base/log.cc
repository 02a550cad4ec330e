#include "src/base/log.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace pivot::log {
namespace {

// One logger and one status line per process: both stand for the one terminal.
struct Terminal {
  std::mutex mutex;
  std::string status;
  std::shared_ptr<spdlog::logger> logger;

  Terminal()
      : logger(spdlog::stderr_color_mt(
            "pivot", use_color() ? spdlog::color_mode::always : spdlog::color_mode::never)) {
    logger->set_pattern("%^%H:%M:%S %L%$ %v");
    logger->set_level(spdlog::level::info);
  }
};

Terminal& terminal() {
  static Terminal instance;
  return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::Debug:
      return spdlog::level::debug;
    case Level::Info:
      return spdlog::level::info;
    case Level::Warning:
      return spdlog::level::warn;
    case Level::Error:
      return spdlog::level::err;
    case Level::Off:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

void erase_line() {
  std::fputs("\r\033[K", stderr);
}

}  // namespace

void set_level(Level level) {
  terminal().logger->set_level(to_spdlog(level));
}

bool use_color() {
  static const bool color = isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return color;
}

void write(Level level, const std::string& text) {
  Terminal& t = terminal();
  std::lock_guard lock(t.mutex);
  const bool redraw = !t.status.empty() && isatty(STDERR_FILENO) != 0;
  if (redraw) erase_line();
  t.logger->log(to_spdlog(level), "{}", text);
  t.logger->flush();
  if (redraw) std::fputs(t.status.c_str(), stderr);
}

void status_line(const std::string& text) {
  if (isatty(STDERR_FILENO) == 0) return;
  Terminal& t = terminal();
  std::lock_guard lock(t.mutex);
  t.status = text;
  erase_line();
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace pivot::log
