#include <algorithm>
#include <filesystem>

#include "checkpoints/checkpoint.h"
#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr char kRunSubdirectory[] = "checkpoints";

std::vector<std::string> entries(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Every byte of it is what was written.
bool is_sound(const std::string& checkpoint) {
  try {
    const std::vector<ManifestFile> files = read_manifest(checkpoint);
    for (const ManifestFile& file : files) verify_file(checkpoint, files, file.name);
    return true;
  } catch (const UserError& e) {
    log::warning("skipping {}: {}", checkpoint, e.what());
    return false;
  }
}

// A name that no listing takes for a checkpoint first: a crash half-way leaves no half checkpoint.
void remove_checkpoint(const std::string& path) {
  const std::string doomed = path + layout::kTemporarySuffix;
  std::error_code error;
  fs::remove_all(doomed, error);
  fs::rename(path, doomed, error);
  if (!error) fs::remove_all(doomed, error);
  if (error) log::warning("cannot remove the old checkpoint {}: {}", path, error.message());
}

bool looks_like_checkpoint(const std::string& path) {
  return fs::exists(path + "/" + kManifestName) || fs::exists(path + "/" + layout::kModelFile) ||
         layout::parse_step_name(fs::path(path).lexically_normal().filename().string()).has_value();
}

[[noreturn]] void nothing_found(const std::string& path) {
  constexpr size_t kShown = 6;
  std::vector<std::string> names = entries(path);
  const size_t count = names.size();
  names.resize(std::min(count, kShown));
  std::string found;
  for (const std::string& name : names) found += (found.empty() ? "" : ", ") + name;
  if (count > kShown) found += ", ...";
  throw_user(
      "no complete checkpoint in {} (found: {}); give a checkpoint, a run directory that has saved "
      "one, a Hugging Face directory with its config.json, or a .gguf file",
      path, count == 0 ? "nothing" : found);
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& dir) {
  std::vector<std::pair<int64_t, std::string>> found;
  for (const std::string& name : entries(dir)) {
    const std::optional<int64_t> step = layout::parse_step_name(name);
    if (!step) continue;
    const std::string path = dir + "/" + name;
    try {
      read_manifest(path);
      found.emplace_back(*step, path);
    } catch (const UserError& e) {
      log::warning("skipping {}: {}", path, e.what());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> paths;
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

std::string find_checkpoint(const std::string& path) {
  if (!fs::exists(path)) {
    throw_user(
        "{} does not exist; give a checkpoint, a run directory, a Hugging Face directory or a "
        ".gguf file",
        path);
  }
  if (!fs::is_directory(path)) {
    throw_user(
        "{} is a file; give the directory of a checkpoint, run or Hugging Face model, or a .gguf "
        "file",
        path);
  }
  if (looks_like_checkpoint(path)) {
    read_manifest(path);
    return path;
  }
  const std::string inside = path + "/" + kRunSubdirectory;
  for (const std::string& dir : {inside, path}) {
    std::vector<std::string> found = list_checkpoints(dir);
    std::reverse(found.begin(), found.end());
    for (const std::string& checkpoint : found) {
      if (is_sound(checkpoint)) return checkpoint;
    }
  }
  nothing_found(path);
}

void prune_checkpoints(const std::string& dir, int keep) {
  for (const std::string& name : entries(dir)) {
    if (!layout::is_temporary_name(name)) continue;
    std::error_code error;
    fs::remove_all(dir + "/" + name, error);
    if (error) log::warning("cannot remove {}/{}: {}", dir, name, error.message());
  }
  if (keep <= 0) return;
  const std::vector<std::string> complete = list_checkpoints(dir);
  const size_t kept = std::min(complete.size(), static_cast<size_t>(keep));
  for (size_t i = 0; i + kept < complete.size(); ++i) remove_checkpoint(complete[i]);
}

}  // namespace pivot
