#include <algorithm>
#include <filesystem>

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

std::string read_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                          const std::string& name) {
  verify_file(dir, files, name);
  return read_file(dir + "/" + name);
}

ModelConfig parse_model(const std::string& toml, const std::string& where) {
  ModelConfig config;
  std::vector<OptionField> fields = option_fields(config);
  load_toml_text(fields, toml, where);
  validate(config);
  return config;
}

}  // namespace

CheckpointInfo read_checkpoint_info(const std::string& path) {
  const std::vector<ManifestFile> files = read_manifest(path);
  const hdf5::File file = open_verified(path, files, layout::kModelFile);
  CheckpointInfo info;
  info.model = parse_model(file.string_attribute("/meta", "model"), file.path());
  info.attention = file.string_attribute("/meta", "attention");
  info.tokenizer_kind = file.string_attribute("/meta", "tokenizer_kind");
  info.tokenizer_hash = file.string_attribute("/meta", "tokenizer_hash");
  info.pivot_version = file.string_attribute("/meta", "pivot_version");
  info.config_toml = read_verified(path, files, layout::kConfigFile);
  info.state = parse_train_state(read_verified(path, files, layout::kStateFile),
                                 path + "/" + layout::kStateFile);
  const std::string tokenizer = layout::tokenizer_file(info.tokenizer_kind);
  info.tokenizer_bytes = read_verified(path, files, tokenizer);
  if (hash_hex(info.tokenizer_bytes) != file.string_attribute("/meta", "tokenizer_file_xxh3")) {
    throw_user("{}/{} is not the tokenizer this model was trained with: put the original back",
               path, tokenizer);
  }
  for (const char* name : kCompanionFiles) {
    if (has_file(files, name)) info.companions[name] = read_verified(path, files, name);
  }
  if (info.state.step != file.int64_attribute("/meta", "step")) {
    throw_user("{}: {} is of step {}, {} of step {}: files of two checkpoints were mixed", path,
               layout::kStateFile, info.state.step, layout::kModelFile,
               file.int64_attribute("/meta", "step"));
  }
  return info;
}

void read_checkpoint_tensors(const std::string& path, const ModelConfig& config,
                             const Tensor& weights, const Tensor& m, const Tensor& v) {
  const Shape flat = {parameter_count(config)};
  expect(weights, DType::F32, flat, "weights");
  expect_if_present(m, DType::F32, flat, "m");
  expect_if_present(v, DType::F32, flat, "v");
  PIVOT_CHECK(m.present() == v.present(), "both moments or none");

  const std::vector<ManifestFile> files = read_manifest(path);
  const hdf5::File model = open_verified(path, files, layout::kModelFile);
  read_tensors(model, "/params", list_params(config), weights);
  if (!m.present()) return;
  if (!has_file(files, layout::kOptimizerFile)) {
    throw_user(
        "{} has no {}: it was exported for use, not for resuming; start a new run from it or "
        "resume from another checkpoint",
        path, layout::kOptimizerFile);
  }
  const hdf5::File optimizer = open_verified(path, files, layout::kOptimizerFile);
  if (optimizer.int64_attribute("/meta", "step") != model.int64_attribute("/meta", "step")) {
    throw_user("{}: {} and {} are of different steps: files of two checkpoints were mixed", path,
               layout::kModelFile, layout::kOptimizerFile);
  }
  read_tensors(optimizer, "/m", list_params(config), m);
  read_tensors(optimizer, "/v", list_params(config), v);
}

}  // namespace pivot
