#pragma once
/// A directory for the inputs of file readers, one per process and gone with it.

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/support/temp_dir.h"

namespace pivot::fuzz {

inline const test::TempDir& scratch() {
  static const test::TempDir dir;
  return dir;
}

/// Replaces a file by a new one: truncating the old one makes some file systems flush each time.
inline void overwrite(const std::string& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Writes a file of the scratch directory and returns its path.
inline std::string put(const std::string& name, std::string_view bytes) {
  std::string path = scratch() / name;
  overwrite(path, bytes);
  return path;
}

}  // namespace pivot::fuzz
