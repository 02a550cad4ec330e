#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>

#include "checkpoints/checkpoint.h"
#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "checkpoints/model_source.h"
#include "checkpoints/temporary_directory.h"
#include "checkpoints/tensor_file.h"
#include "checkpoints/train_state.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/options.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kManifestBytes = 1 << 16;

// The weights of a checkpoint, whatever holds them.
struct Weights {
  std::vector<ParamInfo> params;
  StoredType type;
  ReadRows read;
  std::function<void(int64_t values)> wrote;
};

void write_model(const std::string& path, const CheckpointInfo& info, const Weights& weights) {
  hdf5::File file = hdf5::File::create(path);
  reserve_file(path, tensor_file_bytes(weights.params, weights.type));
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
  write_tensors(file, "/params", weights.params, weights.read, weights.type, weights.wrote);
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

CheckpointFile optimizer_file(int64_t step, const std::vector<ParamInfo>& params, const Tensor& m,
                              const Tensor& v) {
  return {layout::kOptimizerFile, tensor_file_bytes(params, 2),
          [=](const std::string& path) { write_optimizer(path, step, params, m, v); }};
}

CheckpointFile text_file(const std::string& name, const std::string& text) {
  return {name, static_cast<int64_t>(text.size()),
          [&text](const std::string& path) { write_file_atomically(path, text); }};
}

bool is_companion(const std::string& name) {
  return std::find(std::begin(kCompanionFiles), std::end(kCompanionFiles), name) !=
         std::end(kCompanionFiles);
}

std::string write_checkpoint(const std::string& dir, const CheckpointInfo& info,
                             const Weights& weights, const std::vector<CheckpointFile>& more) {
  const std::string state = print_train_state(info.state);
  std::vector<CheckpointFile> files = {
      {layout::kModelFile, tensor_file_bytes(weights.params, weights.type),
       [&](const std::string& path) { write_model(path, info, weights); }},
      text_file(layout::kStateFile, state),
      text_file(layout::kConfigFile, info.config_toml),
      text_file(layout::tokenizer_file(info.tokenizer_kind), info.tokenizer_bytes)};
  for (const auto& [name, text] : info.companions) {
    PIVOT_CHECK(is_companion(name), "'{}' is no companion of a model", name);
    files.push_back(text_file(name, text));
  }
  files.insert(files.end(), more.begin(), more.end());
  int64_t bytes = kManifestBytes;
  for (const CheckpointFile& file : files) bytes += file.bytes;
  require_free_disk(dir, bytes, "a checkpoint");

  std::string target = dir + "/" + layout::step_name(info.state.step);
  TemporaryDirectory temporary(target + layout::kTemporarySuffix);
  std::vector<std::string> names;
  for (const CheckpointFile& file : files) {
    file.write(temporary / file.name);
    names.push_back(file.name);
  }
  write_manifest(temporary.path(), names);
  // A crash in the middle of publishing falls back on the checkpoint before it.
  temporary.publish(target);
  return target;
}

std::string save(const std::string& dir, const CheckpointInfo& info, const Weights& weights,
                 const std::vector<CheckpointFile>& more) {
  try {
    fs::create_directories(dir);
    return write_checkpoint(dir, info, weights, more);
  } catch (const BugError&) {
    throw;
  } catch (const UserError&) {  // the source is damaged, or of a kind that checkpoints cannot hold
    throw;
  } catch (const std::exception& e) {  // ours, or the file system's
    throw_error(
        "the checkpoint of step {} was not saved: {}. Older checkpoints in {} are intact: "
        "free some space or permit writing there, then resume",
        info.state.step, e.what(), dir);
  }
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
  const Weights from{.params = list_params(info.model),
                     .type = [](const ParamInfo&) { return DType::F32; },
                     .read =
                         [&](const ParamInfo& p, int64_t begin, int64_t end, float* out) {
                           const int64_t width = p.shape.count() / p.shape[0];
                           const float* values = weights.as<float>() + p.offset;
                           std::copy(values + begin * width, values + end * width, out);
                         },
                     .wrote = {}};
  std::vector<CheckpointFile> files;
  if (m.present()) files.push_back(optimizer_file(info.state.step, from.params, m, v));
  files.insert(files.end(), more.begin(), more.end());
  return save(dir, info, from, files);
}

std::string save_checkpoint(const std::string& dir, const CheckpointInfo& info,
                            const ModelSource& source, const SaveOptions& options) {
  const Weights from{
      .params = list_params(info.model),
      .type = [&](const ParamInfo& p) { return stored_as(options.type, source, p); },
      .read = [&](const ParamInfo& p, int64_t begin, int64_t end,
                  float* out) { read_rows(source, p, begin, end, out, options.pool); },
      .wrote = options.progress};
  return save(dir, info, from, options.more);
}

}  // namespace pivot
