#pragma once
/// MANIFEST.json: what a complete checkpoint consists of. Its presence is what makes one complete.

#include <cstdint>
#include <string>
#include <vector>

namespace pivot {

inline constexpr char kManifestName[] = "MANIFEST.json";

struct ManifestFile {
  std::string name;  // plain file name
  int64_t size = 0;
  std::string hash;  // XXH3-64, 16 hex digits
};

/// Hashes and flushes `names` of DIR and writes the manifest, last of all files of a checkpoint.
void write_manifest(const std::string& dir, const std::vector<std::string>& names);

/// Reads the manifest and checks that every file is there with its size. Throws UserError naming
/// the file and what is wrong.
std::vector<ManifestFile> read_manifest(const std::string& dir);

/// Throws UserError unless the bytes of DIR/NAME are those the manifest was written for.
void verify_file(const std::string& dir, const std::vector<ManifestFile>& files,
                 const std::string& name);

/// True if the manifest lists a file of this name.
bool has_file(const std::vector<ManifestFile>& files, const std::string& name);

}  // namespace pivot
