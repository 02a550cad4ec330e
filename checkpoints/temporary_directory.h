#pragma once
/// A directory that appears under its name complete, or not at all.

#include <string>

namespace pivot {

class TemporaryDirectory {
 public:
  /// Makes PATH, empty, and its parents. Throws Error.
  explicit TemporaryDirectory(const std::string& path);
  /// Removes PATH and all in it, published or not.
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  /// Gives the directory its final name. An older directory of that name changes places with it in
  /// one system call where the file system can, and is removed by the destructor; where it cannot,
  /// the older one has to go first.
  void publish(const std::string& target);

 private:
  std::string path_;
};

}  // namespace pivot
