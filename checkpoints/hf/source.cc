#include "checkpoints/hf/source.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/hf/config.h"
#include "checkpoints/hf/names.h"
#include "checkpoints/hf/tensors.h"
#include "checkpoints/hf/tokenizer_files.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr char kConfigFile[] = "config.json";

std::string shown(const std::string& name) {
  constexpr size_t kLongest = 80;
  return name.size() <= kLongest ? name : name.substr(0, kLongest) + "...";
}

// Plain numbers are blocks of one element, which GGUF has too.
GgufType plain_type(const std::string& dtype) {
  return dtype == "F32" ? GgufType::F32 : dtype == "F16" ? GgufType::F16 : GgufType::BF16;
}

class HfSource : public ModelSource {
 public:
  explicit HfSource(const std::string& directory) : directory_(directory), tensors_(directory) {
    const std::string text = read_file(directory + "/" + kConfigFile);
    HfConfig config = read_hf_config(text, directory + "/" + kConfigFile);
    family_ = config.family;
    // Every layer has tensors, so that what is laid out below is bounded by the files.
    if (static_cast<size_t>(config.model.layers) > tensors_.all().size()) {
      throw_user("{}: {} layers, the files have {} tensors", directory_, config.model.layers,
                 tensors_.all().size());
    }
    info_.model = config.model;
    info_.attention = config.attention;
    info_.pivot_version = config.pivot_version;
    info_.state = config.state;
    info_.companions[kHfConfigFile] = text;
    find_tensors();
    read_hf_tokenizer(directory_, info_.model.vocab, info_);
    const std::string generation = directory + "/" + kGenerationConfigFile;
    if (fs::exists(generation)) info_.companions[kGenerationConfigFile] = read_file(generation);
    if (!config.warning.empty()) log::warning("{}", config.warning);
  }

  const CheckpointInfo& info() const override { return info_; }

  std::string describe() const override {
    std::set<std::string> types;
    for (const auto& [name, parts] : params_) {
      for (const Part& part : parts) types.insert(part.tensor.entry->dtype);
    }
    return fmt::format("Hugging Face {}, {}, {} file{}", family_, fmt::join(types, " and "),
                       tensors_.files(), tensors_.files() == 1 ? "" : "s");
  }

  DType stored_type(const ParamInfo& param) const override {
    const std::vector<Part>& parts = find(param);
    const bool exact = std::all_of(parts.begin(), parts.end(), [](const Part& part) {
      return part.tensor.entry->dtype == "BF16";
    });
    return exact ? DType::BF16 : DType::F32;
  }

  void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const override {
    PIVOT_CHECK(0 <= begin && begin <= end && end <= param.shape[0],
                "rows {} to {} of parameter '{}'", begin, end, param.name);
    const int64_t width = param.shape.count() / param.shape[0];
    int64_t part_begin = 0;
    for (const Part& part : find(param)) {
      const int64_t part_end = part_begin + part.rows;
      const int64_t first = std::max(begin, part_begin);
      const int64_t last = std::min(end, part_end);
      if (first < last) {
        read_rows(part, first - part_begin, last - part_begin, width,
                  out + (first - begin) * width);
      }
      part_begin = part_end;
    }
  }

 private:
  struct Part {
    std::string name;
    HfTensors::Tensor tensor;
    int64_t rows;
  };

  const std::vector<Part>& find(const ParamInfo& param) const {
    const auto found = params_.find(param.name);
    PIVOT_CHECK(found != params_.end(), "parameter '{}' is not one of this model", param.name);
    return found->second;
  }

  // Lays the model's parameters over the files' tensors and wants each exactly once.
  void find_tensors() {
    std::set<std::string> used;
    for (const ParamInfo& param : list_params(info_.model)) {
      for (HfPart& part : hf_parts(info_.model, param)) {
        const HfTensors::Tensor* tensor = tensors_.find(part.tensor);
        if (tensor == nullptr) missing(part.tensor);
        check_tensor(part, *tensor->entry, param);
        used.insert(part.tensor);
        params_[param.name].push_back({part.tensor, *tensor, part.rows});
      }
    }
    for (const auto& [name, tensor] : tensors_.all()) {
      if (used.contains(name) || is_computed_tensor(name)) continue;
      if (name == kHfHead) {
        check_tied_head(tensor);
        continue;
      }
      throw_user("{}: tensor '{}' is not part of a {} model that Pivot can compute", directory_,
                 shown(name), family_);
    }
  }

  [[noreturn]] void missing(const std::string& name) const {
    if (name == kHfHead) {
      throw_user(
          "{}: tensor '{}' is missing, though tie_word_embeddings is false in {}: set it to "
          "true if the embedding is to be the output projection",
          directory_, name, kConfigFile);
    }
    throw_user("{}: tensor '{}' is missing", directory_, name);
  }

  // A second copy of tied embeddings is harmless as long as it is one.
  void check_tied_head(const HfTensors::Tensor& head) const {
    const HfTensors::Tensor* embedding = tensors_.find(kHfEmbedding);
    const auto a = head.entry->bytes, b = embedding->entry->bytes;
    const bool equal = head.entry->dtype == embedding->entry->dtype &&
                       std::equal(a.begin(), a.end(), b.begin(), b.end());
    head.file->release(a);
    embedding->file->release(b);
    if (equal) return;
    throw_user(
        "{}: tensor '{}' differs from '{}', though tie_word_embeddings is true (or absent "
        "and so by default) in {}: set it to false if both are meant",
        directory_, kHfHead, kHfEmbedding, kConfigFile);
  }

  void check_tensor(const HfPart& part, const SafetensorsFile::Entry& entry,
                    const ParamInfo& param) const {
    std::vector<int64_t> shape = {part.rows};
    for (int i = 1; i < param.shape.rank; ++i) shape.push_back(param.shape[i]);
    if (entry.shape != shape) {
      throw_user("{}: tensor '{}' has shape ({}), {} asks for ({})", directory_, part.tensor,
                 fmt::join(entry.shape, ", "), kConfigFile, fmt::join(shape, ", "));
    }
    if (entry.dtype != "F32" && entry.dtype != "F16" && entry.dtype != "BF16") {
      throw_user(
          "{}: tensor '{}' is {}; Pivot reads F32, F16 and BF16: save the model in one of "
          "them (a quantised one dequantised)",
          directory_, part.tensor, entry.dtype);
    }
  }

  void read_rows(const Part& part, int64_t begin, int64_t end, int64_t width, float* out) const {
    const SafetensorsFile::Entry& entry = *part.tensor.entry;
    const auto element = static_cast<size_t>(entry.dtype == "F32" ? 4 : 2);
    const auto at = static_cast<size_t>(begin * width);
    const auto count = static_cast<size_t>((end - begin) * width);
    const std::span<const std::byte> bytes = entry.bytes.subspan(at * element, count * element);
    dequantize(plain_type(entry.dtype), bytes.data(), static_cast<int64_t>(count), out);
    part.tensor.file->release(bytes);
    if (!all_finite(out, static_cast<int64_t>(count))) {
      throw_user("{}: tensor '{}' holds values that are not finite: the file is damaged",
                 directory_, part.name);
    }
  }

  std::string directory_, family_;
  HfTensors tensors_;
  CheckpointInfo info_;
  std::map<std::string, std::vector<Part>> params_;
};

}  // namespace

bool is_hf_directory(const std::string& path) {
  return fs::is_regular_file(path + "/" + kConfigFile);
}

std::unique_ptr<ModelSource> open_hf(const std::string& directory) {
  return std::make_unique<HfSource>(directory);
}

}  // namespace pivot
