#include "checkpoints/manifest.h"

#include <algorithm>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kFormat[] = "pivot-checkpoint";
constexpr int kVersion = 1;
constexpr int64_t kLargestManifest = 1 << 20;
constexpr const char* kNextStep = "use an older checkpoint or copy this one again";

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

ManifestFile parse_entry(const Json& entry) {
  ManifestFile file;
  entry.at("name").get_to(file.name);
  entry.at("size").get_to(file.size);
  entry.at("xxh3").get_to(file.hash);
  return file;
}

std::vector<ManifestFile> parse_manifest(const std::string& path) {
  if (static_cast<int64_t>(fs::file_size(path)) > kLargestManifest) {
    throw_user("{} is too long for a manifest: {}", path, kNextStep);
  }
  std::vector<ManifestFile> files;
  try {
    const Json manifest = Json::parse(read_file(path));
    if (manifest.at("format") != kFormat) {
      throw_user("{}: not the manifest of a Pivot checkpoint", path);
    }
    if (manifest.at("version") != kVersion) {
      throw_user("{}: version {} of the checkpoint format, this build reads version {}", path,
                 manifest.at("version").dump(), kVersion);
    }
    for (const Json& entry : manifest.at("files")) files.push_back(parse_entry(entry));
  } catch (const Json::exception& e) {
    throw_user("{} is damaged ({}): {}", path, e.what(), kNextStep);
  }
  for (const ManifestFile& file : files) {
    if (!is_plain_name(file.name)) throw_user("{}: '{}' is not a file name", path, file.name);
  }
  return files;
}

}  // namespace

void write_manifest(const std::string& dir, const std::vector<std::string>& names) {
  nlohmann::ordered_json manifest;
  manifest["format"] = kFormat;
  manifest["version"] = kVersion;
  manifest["files"] = nlohmann::ordered_json::array();
  for (const std::string& name : names) {
    const std::string path = dir + "/" + name;
    fsync_path(path);
    manifest["files"].push_back(
        {{"name", name}, {"size", fs::file_size(path)}, {"xxh3", hash_file_hex(path)}});
  }
  write_file_atomically(dir + "/" + kManifestName, manifest.dump(2) + "\n");
}

std::vector<ManifestFile> read_manifest(const std::string& dir) {
  const std::string path = dir + "/" + kManifestName;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    throw_user("{} has no {}: not a complete checkpoint", dir, kManifestName);
  }
  std::vector<ManifestFile> files = parse_manifest(path);
  for (const ManifestFile& file : files) {
    const std::string name = dir + "/" + file.name;
    const uintmax_t size = fs::file_size(name, error);
    if (error) throw_user("{} is missing or unreadable: {}", name, kNextStep);
    if (static_cast<int64_t>(size) != file.size) {
      throw_user("{} has {} bytes, {} were written: truncated or replaced; {}", name, size,
                 file.size, kNextStep);
    }
  }
  return files;
}

void verify_file(const std::string& dir, const std::vector<ManifestFile>& files,
                 const std::string& name) {
  const std::string path = dir + "/" + name;
  const auto found = std::find_if(files.begin(), files.end(),
                                  [&](const ManifestFile& file) { return file.name == name; });
  if (found == files.end()) {
    throw_user("{} is not listed in {}: {}", path, kManifestName, kNextStep);
  }
  if (hash_file_hex(path) != found->hash) {
    throw_user("{} is damaged (its checksum is not the one in {}): {}", path, kManifestName,
               kNextStep);
  }
}

bool has_file(const std::vector<ManifestFile>& files, const std::string& name) {
  return std::any_of(files.begin(), files.end(),
                     [&](const ManifestFile& file) { return file.name == name; });
}

}  // namespace pivot
