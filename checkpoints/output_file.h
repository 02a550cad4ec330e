#pragma once
/// A file written piece by piece that appears under its name only when it is complete.

#include <string>
#include <string_view>

namespace pivot {

class OutputFile {
 public:
  /// Opens PATH.tmp. Throws Error if it cannot be written.
  explicit OutputFile(const std::string& path);
  /// Without commit(): removes PATH.tmp and leaves the old file, if any, as it was.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Throws Error (disk full).
  void write(std::string_view bytes);
  /// Flushes to the disk, renames to PATH and flushes the directory.
  void commit();

 private:
  [[noreturn]] void fail() const;

  std::string path_, temporary_;
  int fd_ = -1;
};

}  // namespace pivot
