#pragma once
/// What people type, line by line, or what a pipe holds.

#include <optional>
#include <string>

namespace pivot {

struct Entry {
  std::string text;
  bool block;  // between """ and """: no command, whatever it begins with
};

class LineInput {
 public:
  /// Reads from a file descriptor; on a terminal it shows prompts (on standard error).
  explicit LineInput(int fd);

  bool terminal() const { return terminal_; }
  /// The next entry: a line, or the lines between """ and """. Nothing at the end of the input
  /// (Ctrl-D), on SIGTERM, and on the second Ctrl-C in a row. A block without an end throws
  /// UserError where it is read from a pipe.
  std::optional<Entry> next();

 private:
  enum class Read { Line, End, Interrupted };

  Read read_line(std::string& line, const char* prompt);

  int fd_;
  bool terminal_;
  std::string buffer_;  // read, not given out
  bool at_end_ = false;
};

}  // namespace pivot
