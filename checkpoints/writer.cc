#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "build_info.h"
#include "checkpoints/checkpoint.h"
#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "checkpoints/tensor_file.h"
#include "checkpoints/train_state.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/options.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTextBytes = 1 << 16;  // state and manifest

// The directory a checkpoint grows in; gone unless published.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& path) : path_(path) {
    std::error_code error;
    fs::remove_all(path_, error);
    fs::create_directories(path_, error);
    if (error) throw_error("cannot create {}: {}", path_, error.message());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

  // Gives the directory its final name. An older checkpoint of that name changes places with it in
  // one system call where the file system can, and is removed by the destructor; where it cannot,
  // the older one has to go first and a crash in between falls back on the checkpoint before it.
  void publish(const std::string& target) {
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
    fsync_path(fs::path(target).parent_path().string());
  }

 private:
  std::string path_;
};

void write_model(const std::string& path, const CheckpointInfo& info,
                 const std::vector<ParamInfo>& params, const Tensor& weights) {
  hdf5::File file = hdf5::File::create(path);
  reserve_file(path, tensor_file_bytes(params, 1));
  ModelConfig config = info.model;
  file.create_group("/meta");
  file.set_attribute("/meta", "format", layout::kFormat);
  file.set_attribute("/meta", "version", layout::kVersion);
  file.set_attribute("/meta", "step", info.state.step);
  file.set_attribute("/meta", "model", to_toml(option_fields(config), TomlComments::None));
  file.set_attribute("/meta", "attention", info.attention);
  file.set_attribute("/meta", "tokenizer_kind", info.tokenizer_kind);
  file.set_attribute("/meta", "tokenizer_hash", info.tokenizer_hash);
  file.set_attribute("/meta", "tokenizer_file_xxh3", hash_hex(info.tokenizer_bytes));
  file.set_attribute("/meta", "pivot_version", info.pivot_version);
  write_tensors(file, "/params", params, weights);
  file.close();
}

void write_optimizer(const std::string& path, int64_t step, const std::vector<ParamInfo>& params,
                     const Tensor& m, const Tensor& v) {
  hdf5::File file = hdf5::File::create(path);
  reserve_file(path, tensor_file_bytes(params, 2));
  file.create_group("/meta");
  file.set_attribute("/meta", "format", layout::kFormat);
  file.set_attribute("/meta", "version", layout::kVersion);
  file.set_attribute("/meta", "step", step);
  write_tensors(file, "/m", params, m);
  write_tensors(file, "/v", params, v);
  file.close();
}

std::string write_checkpoint(const std::string& dir, const CheckpointInfo& info,
                             const std::vector<ParamInfo>& params, const Tensor& weights,
                             const Tensor& m, const Tensor& v,
                             const std::vector<CheckpointFile>& more) {
  int64_t others =
      static_cast<int64_t>(info.tokenizer_bytes.size() + info.config_toml.size()) + kTextBytes;
  const int64_t optimizer = m.present() ? tensor_file_bytes(params, 2) : 0;
  for (const CheckpointFile& file : more) others += file.bytes;
  require_free_disk(dir, tensor_file_bytes(params, 1) + optimizer + others, "a checkpoint");

  std::string target = dir + "/" + layout::step_name(info.state.step);
  TemporaryDirectory temporary(target + layout::kTemporarySuffix);
  const std::string tokenizer = layout::tokenizer_file(info.tokenizer_kind);
  std::vector<std::string> names = {layout::kModelFile, layout::kStateFile, layout::kConfigFile,
                                    tokenizer};
  write_model(temporary / layout::kModelFile, info, params, weights);
  if (m.present()) {
    write_optimizer(temporary / layout::kOptimizerFile, info.state.step, params, m, v);
    names.emplace_back(layout::kOptimizerFile);
  }
  for (const CheckpointFile& file : more) {
    file.write(temporary / file.name);
    names.push_back(file.name);
  }
  write_file_atomically(temporary / layout::kStateFile, print_train_state(info.state));
  write_file_atomically(temporary / layout::kConfigFile, info.config_toml);
  write_file_atomically(temporary / tokenizer, info.tokenizer_bytes);
  write_manifest(temporary.path(), names);
  temporary.publish(target);
  return target;
}

}  // namespace

std::string save_checkpoint(const std::string& dir, const CheckpointInfo& info,
                            const Tensor& weights, const Tensor& m, const Tensor& v,
                            const std::vector<CheckpointFile>& more) {
  const Shape flat = {parameter_count(info.model)};
  expect(weights, DType::F32, flat, "weights");
  expect_if_present(m, DType::F32, flat, "m");
  expect_if_present(v, DType::F32, flat, "v");
  PIVOT_CHECK(m.present() == v.present(), "both moments or none");
  try {
    fs::create_directories(dir);
    return write_checkpoint(dir, info, list_params(info.model), weights, m, v, more);
  } catch (const BugError&) {
    throw;
  } catch (const std::exception& e) {  // ours, or the file system's
    throw_error(
        "the checkpoint of step {} was not saved: {}. Older checkpoints in {} are intact: "
        "free some space or permit writing there, then resume",
        info.state.step, e.what(), dir);
  }
}

}  // namespace pivot
