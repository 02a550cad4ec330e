#include "data/dataset.h"

#include <chrono>
#include <filesystem>
#include <utility>

#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/base/units.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A directory that a careless --overwrite may remove without loss: nothing but what we write.
bool is_dataset(const std::string& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name != "train" && name != "validation" && name != kChatFile && !is_tokenizer_file(name)) {
      return false;
    }
  }
  return true;
}

}  // namespace

DatasetDirectory::DatasetDirectory(std::string out, Existing existing) : out_(std::move(out)) {
  if (out_.empty()) throw_user("--out DIR says where to write the data set");
  while (out_.size() > 1 && out_.back() == '/') out_.pop_back();
  if (fs::exists(out_)) {
    if (!fs::is_directory(out_)) throw_user("--out {}: exists and is not a directory", out_);
    if (!fs::is_empty(out_)) {
      if (existing == Existing::Refuse) {
        throw_user("--out {}: the directory is not empty; --overwrite replaces a data set", out_);
      }
      if (!is_dataset(out_)) {
        throw_user("--out {}: holds other files than a data set; choose another directory", out_);
      }
    }
  }
  staging_ = out_ + ".partial";
  std::error_code error;
  fs::remove_all(staging_, error);
  fs::create_directories(staging_, error);
  if (error) throw_error("cannot create {}: {}", staging_, error.message());
}

DatasetDirectory::~DatasetDirectory() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
}

void DatasetDirectory::add_file(const std::string& name, std::string_view bytes) {
  write_file_atomically(staging_ + "/" + name, bytes);
}

void DatasetDirectory::publish(const Tokenizer& tokenizer) {
  save_tokenizer(tokenizer, staging_);
  for (const std::string& part : {train(), validation()}) {
    if (!fs::is_directory(part)) continue;
    if (fs::is_empty(part)) {
      fs::remove(part);
    } else {
      save_tokenizer(tokenizer, part);
    }
  }
  const std::string old = out_ + ".old";
  std::error_code error;
  fs::remove_all(old, error);
  if (fs::exists(out_)) fs::rename(out_, old, error);
  if (!error) fs::rename(staging_, out_, error);
  if (error) throw_error("cannot put {} in place: {}", out_, error.message());
  fs::remove_all(old, error);
  const std::string parent = fs::path(out_).parent_path().string();
  fsync_path(parent.empty() ? "." : parent);
}

ShardInfo shard_info(const Tokenizer& tokenizer) {
  ShardInfo info;
  info.tokenizer_kind = tokenizer.kind();
  info.tokenizer_hash = tokenizer.hash();
  info.vocab = tokenizer.vocab();
  return info;
}

Progress::Progress(std::string what) : what_(std::move(what)), start_(now()), shown_(start_) {}

Progress::~Progress() {
  log::status_line("");
}

void Progress::update(double share, std::string_view detail) {
  if (interrupted()) throw_error("interrupted: {} stopped, nothing was written", what_);
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const double time = now();
  if (time - shown_ < (terminal ? 0.2 : 10.0)) return;
  shown_ = time;
  const double elapsed = time - start_;
  const std::string eta =
      share > 0.01 ? format_duration(elapsed / share * (1 - share)) : std::string("?");
  const std::string line = fmt::format("{} {:.0f}% {} ETA {}", what_, 100 * share, detail, eta);
  if (terminal) {
    log::status_line(line);
  } else {
    log::info("{}", line);
  }
}

}  // namespace pivot
