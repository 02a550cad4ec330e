#include "checkpoints/hf/export.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/hf/names.h"
#include "checkpoints/hf/source.h"
#include "checkpoints/hf/tensors.h"
#include "checkpoints/hf/tokenizer_files.h"
#include "checkpoints/output_file.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/temporary_directory.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

// Values converted at once: 4 MiB of F32.
constexpr int64_t kPiece = int64_t{1} << 20;

struct StoredAs {
  GgufType type;
  const char* safetensors;
  const char* torch;
  int64_t bytes;
};
constexpr StoredAs kF32 = {GgufType::F32, "F32", "float32", 4};
constexpr StoredAs kBf16 = {GgufType::BF16, "BF16", "bfloat16", 2};
constexpr StoredAs kF16 = {GgufType::F16, "F16", "float16", 2};

StoredAs stored(WeightType type, const ModelSource& source, const std::vector<ParamInfo>& params) {
  switch (type) {
    case WeightType::F32:
      return kF32;
    case WeightType::BF16:
      return kBf16;
    case WeightType::F16:
      return kF16;
    case WeightType::Auto:
      break;
  }
  const bool exact = std::all_of(params.begin(), params.end(), [&](const ParamInfo& p) {
    return source.stored_type(p) == DType::BF16;
  });
  return exact ? kBf16 : kF32;
}

// One tensor of the directory: rows of a parameter.
struct Slice {
  std::string name;
  const ParamInfo* param;
  int64_t begin, end;

  int64_t width() const { return param->shape.count() / param->shape[0]; }
  int64_t count() const { return (end - begin) * width(); }
  std::vector<int64_t> shape() const {
    std::vector<int64_t> out = {end - begin};
    for (int i = 1; i < param->shape.rank; ++i) out.push_back(param->shape[i]);
    return out;
  }
};

std::vector<Slice> slices(const ModelConfig& config, const std::vector<ParamInfo>& params) {
  std::vector<Slice> out;
  for (const ParamInfo& p : params) {
    int64_t row = 0;
    for (HfPart& part : hf_parts(config, p)) {
      out.push_back({std::move(part.tensor), &p, row, row + part.rows});
      row += part.rows;
    }
  }
  return out;
}

// Runs of tensors that share a file.
std::vector<std::vector<Slice>> shards(const std::vector<Slice>& all, int64_t element,
                                       int64_t limit) {
  std::vector<std::vector<Slice>> out(1);
  int64_t bytes = 0;
  for (const Slice& slice : all) {
    const int64_t size = slice.count() * element;
    if (!out.back().empty() && bytes + size > limit) {
      out.emplace_back();
      bytes = 0;
    }
    out.back().push_back(slice);
    bytes += size;
  }
  return out;
}

class Exporter {
 public:
  Exporter(const ModelSource& source, const HfExport& options)
      : source_(source),
        options_(options),
        params_(list_params(source.info().model)),
        stored_(stored(options.type, source, params_)) {}

  std::string run() {
    const CheckpointInfo& info = source_.info();
    const std::string config = print_hf_config(
        info, {.dtype = stored_.torch, .origin = source_.describe(), .special = options_.special});
    constexpr int64_t kTexts = int64_t{1} << 20;
    require_free_disk(options_.directory,
                      parameter_count(info.model) * stored_.bytes + kTexts +
                          static_cast<int64_t>(info.tokenizer_bytes.size()),
                      "the export");
    TemporaryDirectory out(options_.directory + ".tmp");
    write_file_atomically(out / "config.json", config);
    write_file_atomically(out / kGenerationConfigFile, generation_config());
    if (options_.tokenizer) write_hf_tokenizer(out.path(), info);
    write_weights(out);
    out.publish(options_.directory);
    return stored_.torch;
  }

 private:
  std::string generation_config() const {
    const std::string given = source_.info().companion(kGenerationConfigFile);
    if (!given.empty()) return given;
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    if (options_.special.bos >= 0) json["bos_token_id"] = options_.special.bos;
    if (options_.special.eos >= 0) json["eos_token_id"] = options_.special.eos;
    return json.dump(2) + "\n";
  }

  void write_weights(const TemporaryDirectory& out) const {
    const std::vector<std::vector<Slice>> files =
        shards(slices(source_.info().model, params_), stored_.bytes, options_.shard_bytes);
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (size_t i = 0; i < files.size(); ++i) {
      const std::string name =
          files.size() == 1 ? kHfSingleFile
                            : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
      write_file(out / name, files[i]);
      for (const Slice& slice : files[i]) map[slice.name] = name;
    }
    if (files.size() == 1) return;
    const nlohmann::ordered_json index = {
        {"metadata", {{"total_size", parameter_count(source_.info().model) * stored_.bytes}}},
        {"weight_map", map}};
    write_file_atomically(out / kHfIndexFile, index.dump(2) + "\n");
  }

  void write_file(const std::string& path, const std::vector<Slice>& tensors) const {
    std::vector<SafetensorsWriter::Item> items;
    for (const Slice& slice : tensors) {
      items.push_back({slice.name, stored_.safetensors, slice.shape()});
    }
    SafetensorsWriter out(path, items, {{"format", "pt"}});  // transformers 4 asks for it
    for (const Slice& slice : tensors) write_tensor(out, slice);
    out.commit();
  }

  void write_tensor(SafetensorsWriter& out, const Slice& slice) const {
    const int64_t width = slice.width();
    const int64_t step = std::max<int64_t>(1, kPiece / width);
    std::vector<float> values;
    std::string bytes;
    for (int64_t begin = slice.begin; begin < slice.end; begin += step) {
      const int64_t end = std::min(begin + step, slice.end);
      const int64_t count = (end - begin) * width;
      values.resize(static_cast<size_t>(count));
      bytes.resize(static_cast<size_t>(count * stored_.bytes));
      read_rows(source_, *slice.param, begin, end, values.data(), options_.pool);
      if (!quantize(stored_.type, values.data(), count,
                    reinterpret_cast<std::byte*>(bytes.data()))) {
        throw_user(
            "tensor '{}' has a value that is not finite or too large for {}: use --dtype f32 "
            "or bf16",
            slice.name, stored_.torch);
      }
      out.write(bytes);
      if (options_.progress) options_.progress(count);
    }
  }

  const ModelSource& source_;
  const HfExport& options_;
  std::vector<ParamInfo> params_;
  StoredAs stored_;
};

// Nothing but a model, and only when told to, is ever replaced.
void check_target(const HfExport& options) {
  const std::string& dir = options.directory;
  if (!fs::exists(dir)) return;
  if (!fs::is_directory(dir)) throw_user("{} is a file: name a directory for the export", dir);
  if (fs::is_empty(dir)) return;
  if (!options.overwrite) {
    throw_user("{} is there already: choose another directory, or add --overwrite", dir);
  }
  if (!is_hf_directory(dir)) {
    throw_user("{} holds something else than a model (no config.json): it is not replaced", dir);
  }
}

}  // namespace

std::string write_hf(const ModelSource& source, const HfExport& options) {
  PIVOT_CHECK(options.shard_bytes > 0, "shards of {} bytes", options.shard_bytes);
  HfExport clean = options;
  clean.directory = fs::path(options.directory).lexically_normal().string();
  while (clean.directory.size() > 1 && clean.directory.back() == '/') clean.directory.pop_back();
  check_target(clean);
  return Exporter(source, clean).run();
}

}  // namespace pivot
