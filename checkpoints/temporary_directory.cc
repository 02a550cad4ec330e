#include "checkpoints/temporary_directory.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {

namespace fs = std::filesystem;

TemporaryDirectory::TemporaryDirectory(const std::string& path) : path_(path) {
  std::error_code error;
  fs::remove_all(path_, error);
  fs::create_directories(path_, error);
  if (error) throw_error("cannot create {}: {}", path_, error.message());
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void TemporaryDirectory::publish(const std::string& target) {
  fsync_path(path_);
  const auto rename = [&](unsigned flags) {
    return ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target.c_str(), flags) == 0;
  };
  bool done = false;
  if (fs::exists(target)) {
    done = rename(RENAME_EXCHANGE);
    if (!done) fs::remove_all(target);
  }
  if (!done && ::rename(path_.c_str(), target.c_str()) != 0) {
    throw_error("cannot rename {} to {}: {}", path_, target, std::strerror(errno));
  }
  const fs::path parent = fs::path(target).parent_path();
  fsync_path(parent.empty() ? "." : parent.string());
}

}  // namespace pivot
