#pragma once
/// Files of one JSON object a line that a resumed run goes on with.

#include <cstdint>
#include <cstdio>
#include <string>

namespace pivot {

class JsonlFile {
 public:
  /// Appends to `path`. Lines whose "step" is above `step` and a line that was cut by a crash are
  /// removed first. Throws Error if the file cannot be written.
  JsonlFile(const std::string& path, int64_t step);
  ~JsonlFile();
  JsonlFile(const JsonlFile&) = delete;
  JsonlFile& operator=(const JsonlFile&) = delete;

  bool empty() const { return empty_; }
  /// `object` without the line's end. Readers see it at once. Throws Error (disk full).
  void write(const std::string& object);
  /// Flushed to the disk.
  void sync();

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  bool empty_ = true;
};

}  // namespace pivot
