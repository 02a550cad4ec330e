#include <algorithm>
#include <filesystem>

#include "checkpoints/checkpoint.h"
#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "checkpoints/train_state.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/options.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

void check_format(const hdf5::File& file) {
  if (!file.exists("/meta") || !file.has_attribute("/meta", "format") ||
      file.string_attribute("/meta", "format") != layout::kFormat) {
    throw_user("{} is an HDF5 file, but not of a Pivot checkpoint", file.path());
  }
  const int64_t version = file.int64_attribute("/meta", "version");
  if (version != layout::kVersion) {
    throw_user("{}: version {} of the checkpoint format, this build reads version {}", file.path(),
               version, layout::kVersion);
  }
}

hdf5::File open_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                         const std::string& name) {
  // The checksum comes before HDF5 sees a byte: the library is not proof against damaged files.
  verify_file(dir, files, name);
  hdf5::File file = hdf5::File::open(dir + "/" + name);
  check_format(file);
  return file;
}

std::string read_verified(const std::string& dir, const std::vector<ManifestFile>& files,
                          const std::string& name) {
  verify_file(dir, files, name);
  return read_file(dir + "/" + name);
}

void read_group(const hdf5::File& file, const std::string& group, const ModelConfig& config,
                const Tensor& flat) {
  const std::vector<ParamInfo> params = list_params(config);
  std::vector<std::string> expected;
  for (const ParamInfo& p : params) expected.push_back(p.name);
  for (const std::string& name : file.list(group)) {
    if (std::find(expected.begin(), expected.end(), name) == expected.end()) {
      throw_user(
          "{}: {}/{} is no parameter of this model: the checkpoint belongs to another "
          "configuration",
          file.path(), group, name);
    }
  }
  float* values = flat.as<float>();
  for (const ParamInfo& p : params) {
    const std::string path = group + "/" + p.name;
    if (!file.exists(path)) {
      throw_user("{}: {} is missing: the checkpoint belongs to another configuration", file.path(),
                 path);
    }
    const std::string shape = file.string_attribute(path, "shape");
    const hdf5::Dataset dataset = file.dataset(path);
    if (shape != to_string(p.shape) || dataset.size() != p.shape.count()) {
      throw_user(
          "{}: {} has shape {} ({} values), the configuration needs {}: use the "
          "configuration the checkpoint was trained with",
          file.path(), path, shape, dataset.size(), to_string(p.shape));
    }
    dataset.require_type(hdf5::Type::F32);
    const auto count = static_cast<size_t>(p.shape.count());
    dataset.read(0, std::span<float>(values + p.offset, count));
  }
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
  read_group(model, "/params", config, weights);
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
  read_group(optimizer, "/m", config, m);
  read_group(optimizer, "/v", config, v);
}

}  // namespace pivot
