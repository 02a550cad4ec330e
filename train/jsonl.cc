#include "train/jsonl.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

// Complete lines up to and including `step`.
std::string lines_until(std::string_view text, int64_t step) {
  std::string kept;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    const std::string_view line = text.substr(0, end + 1);
    text.remove_prefix(end + 1);
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    const auto it = object.find("step");
    if (it != object.end() && it->is_number() && it->get<int64_t>() > step) continue;
    kept += line;
  }
  return kept;
}

}  // namespace

JsonlFile::JsonlFile(const std::string& path, int64_t step) : path_(path) {
  if (std::filesystem::exists(path)) {
    const std::string text = read_file(path);
    const std::string kept = lines_until(text, step);
    if (kept != text) write_file_atomically(path, kept);
    empty_ = kept.empty();
  }
  file_ = std::fopen(path.c_str(), "ab");
  if (file_ == nullptr) throw_error("{}: cannot be written: {}", path, std::strerror(errno));
}

JsonlFile::~JsonlFile() {
  std::fclose(file_);
}

void JsonlFile::write(const std::string& object) {
  const std::string line = object + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    throw_error("{}: cannot be written: {}", path_, std::strerror(errno));
  }
  empty_ = false;
}

void JsonlFile::sync() {
  ::fsync(::fileno(file_));
}

}  // namespace pivot
