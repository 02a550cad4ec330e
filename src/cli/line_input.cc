#include "src/cli/line_input.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <unistd.h>

#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"

namespace pivot {
namespace {

constexpr char kFence[] = "\"\"\"";

void show(const char* prompt) {
  const bool color = log::use_color();
  std::fprintf(stderr, "%s%s%s", color ? "\033[1m" : "", prompt, color ? "\033[0m" : "");
  std::fflush(stderr);
}

}  // namespace

LineInput::LineInput(int fd) : fd_(fd), terminal_(::isatty(fd) != 0) {}

LineInput::Read LineInput::read_line(std::string& line, const char* prompt) {
  if (terminal_) show(prompt);
  for (;;) {
    const size_t end = buffer_.find('\n');
    if (end != std::string::npos || (at_end_ && !buffer_.empty())) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end == std::string::npos ? end : end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return Read::Line;
    }
    if (at_end_) return Read::End;
    char bytes[4096];
    const ssize_t count = ::read(fd_, bytes, sizeof bytes);
    if (count > 0) {
      buffer_.append(bytes, static_cast<size_t>(count));
    } else if (count == 0) {
      at_end_ = true;
    } else if (errno != EINTR) {
      throw_error("the input cannot be read: {}", std::strerror(errno));
    }
    if (interrupted()) return Read::Interrupted;
  }
}

std::optional<Entry> LineInput::next() {
  bool asked = false;  // Ctrl-C, nothing typed since
  for (;;) {
    std::string line;
    Read read = read_line(line, "> ");
    if (read == Read::Line && line.starts_with(kFence)) {
      std::string text = line.substr(std::strlen(kFence));
      // """one line"""
      if (text.size() >= std::strlen(kFence) && text.ends_with(kFence)) {
        return Entry{text.substr(0, text.size() - std::strlen(kFence)), true};
      }
      while ((read = read_line(line, "| ")) == Read::Line && !line.ends_with(kFence)) {
        text += (text.empty() ? "" : "\n") + line;
      }
      if (read == Read::Line) {
        line.resize(line.size() - std::strlen(kFence));
        if (!line.empty()) text += (text.empty() ? "" : "\n") + line;
        return Entry{text, true};
      }
      if (read == Read::End && !terminal_)
        throw_user("a block that begins with {} never ends", kFence);
    } else if (read == Read::Line) {
      return Entry{line, false};
    }
    if (read == Read::End || terminated() || !terminal_ || asked) return std::nullopt;
    clear_interrupt();
    asked = true;
    buffer_.clear();
    std::fputs("\nCtrl-C again, Ctrl-D or /quit leaves\n", stderr);
  }
}

}  // namespace pivot
