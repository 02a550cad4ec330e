#pragma once
/// Human-readable log lines on standard error. Measurements go to JSONL files, never here alone.

#include <string>
#include <utility>

#include <fmt/core.h>

namespace pivot::log {

enum class Level { Debug, Info, Warning, Error, Off };

void set_level(Level level);
void write(Level level, const std::string& text);

/// True when standard error is a terminal and NO_COLOR is not set.
bool use_color();

/// Draws (or redraws) one status line below the log; plain lines on a non-terminal are up to
/// callers. An empty text removes it. Only acts on a terminal.
void status_line(const std::string& text);

template <class... A>
void debug(fmt::format_string<A...> text, A&&... args) {
  write(Level::Debug, fmt::format(text, std::forward<A>(args)...));
}
template <class... A>
void info(fmt::format_string<A...> text, A&&... args) {
  write(Level::Info, fmt::format(text, std::forward<A>(args)...));
}
template <class... A>
void warning(fmt::format_string<A...> text, A&&... args) {
  write(Level::Warning, fmt::format(text, std::forward<A>(args)...));
}
template <class... A>
void error(fmt::format_string<A...> text, A&&... args) {
  write(Level::Error, fmt::format(text, std::forward<A>(args)...));
}

}  // namespace pivot::log
