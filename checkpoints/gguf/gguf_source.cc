#include "checkpoints/gguf/gguf_source.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "checkpoints/gguf/blocks.h"
#include "checkpoints/gguf/config.h"
#include "checkpoints/gguf/file.h"
#include "checkpoints/gguf/layout.h"
#include "checkpoints/gguf/vocabulary.h"
#include "src/base/check.h"

namespace pivot {
namespace {

class GgufSource : public ModelSource {
 public:
  explicit GgufSource(const std::string& path)
      : file_(path), architecture_(read_gguf_architecture(file_)) {
    info_.model = read_gguf_config(file_, architecture_);
    info_.attention = file_.text(kPivotAttentionKey).value_or("dense");
    info_.config_toml = file_.text(kPivotConfigKey).value_or("");
    info_.pivot_version = file_.text(kPivotVersionKey).value_or("");
    info_.state.step = file_.integer(kPivotStepKey).value_or(0);
    find_tensors();
    read_tokenizer();
  }

  const CheckpointInfo& info() const override { return info_; }

  std::string describe() const override {
    std::map<std::string, int> count;
    for (const auto& [name, tensor] : file_.tensors()) ++count[tensor.type->name];
    std::vector<std::pair<int, std::string>> types;
    for (const auto& [name, n] : count) types.emplace_back(-n, name);
    std::sort(types.begin(), types.end());
    std::string names;
    for (const auto& [n, name] : types) names += (names.empty() ? "" : " and ") + name;
    return fmt::format("GGUF {}, {}, {} tensors", architecture_, names, file_.tensors().size());
  }

  DType stored_type(const ParamInfo& param) const override {
    const std::vector<Part>& parts = find(param);
    const bool exact = std::all_of(parts.begin(), parts.end(), [](const Part& part) {
      return part.tensor->type->id == static_cast<uint32_t>(GgufType::BF16);
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
    const GgufTensorInfo* tensor;
    int64_t rows;
    HeadRows order;
  };

  const std::vector<Part>& find(const ParamInfo& param) const {
    const auto found = params_.find(param.name);
    PIVOT_CHECK(found != params_.end(), "parameter '{}' is not one of this model", param.name);
    return found->second;
  }

  // Lays the model's parameters over the file's tensors and wants each exactly once.
  void find_tensors() {
    std::set<std::string> used;
    for (const ParamInfo& param : list_params(info_.model)) {
      for (GgufPart& part : gguf_parts(architecture_, info_.model, param)) {
        const auto found = file_.tensors().find(part.tensor);
        if (found == file_.tensors().end()) {
          throw_user("{}: tensor '{}' is missing", file_.path(), part.tensor);
        }
        check_tensor(part.tensor, found->second, part.rows, param);
        used.insert(part.tensor);
        params_[param.name].push_back({part.tensor, &found->second, part.rows, part.order});
      }
    }
    used.insert(kRopeFactorsTensor);  // read with the configuration
    for (const auto& [name, tensor] : file_.tensors()) {
      if (used.contains(name)) continue;
      throw_user("{}: tensor '{}' is not part of a {} model that Pivot can compute", file_.path(),
                 shown_name(name), architecture_);
    }
  }

  void read_tokenizer() {
    const GgufVocabulary vocabulary = read_gguf_vocabulary(file_);
    if (static_cast<int64_t>(vocabulary.tokens.size()) > info_.model.vocab) {
      throw_user("{}: {} tokens, the embedding has {} rows", file_.path(), vocabulary.tokens.size(),
                 info_.model.vocab);
    }
    info_.tokenizer_kind = "huggingface";
    info_.tokenizer_bytes = print_tokenizer_json(vocabulary, file_.path());
    info_.tokenizer_hash = tokenizer_hash(info_.tokenizer_kind, info_.tokenizer_bytes);
    info_.companions[kTokenizerConfigFile] = print_tokenizer_config(vocabulary, file_.path());
    info_.companions[kGenerationConfigFile] = print_generation_config(vocabulary);
  }

  void check_tensor(const std::string& name, const GgufTensorInfo& tensor, int64_t rows,
                    const ParamInfo& param) const {
    std::vector<int64_t> shape = {rows};
    for (int i = 1; i < param.shape.rank; ++i) shape.push_back(param.shape[i]);
    if (tensor.shape != shape) {
      throw_user("{}: tensor '{}' has shape ({}), the metadata asks for ({})", file_.path(), name,
                 fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
    }
    if (!tensor.type->readable || (shape.size() == 1 && tensor.type->block != 1)) {
      throw_user(
          "{}: tensor '{}' is {}, which Pivot cannot read here; it reads {} (and vectors "
          "only as F32, F16 or BF16)",
          file_.path(), name, tensor.type->name, readable_gguf_types());
    }
  }

  void read_rows(const Part& part, int64_t begin, int64_t end, int64_t width, float* out) const {
    const GgufTensorInfo& tensor = *part.tensor;
    const std::byte* data = file_.bytes(tensor).data();
    const int64_t row_bytes = width / tensor.type->block * tensor.type->bytes;
    const int64_t head_dim = info_.model.head_dim;
    for (int64_t row = begin; row < end;) {
      const int64_t from = gguf_row(part.order, row, head_dim);
      int64_t run = 1;  // neighbours there too
      while (row + run < end && gguf_row(part.order, row + run, head_dim) == from + run) ++run;
      dequantize(static_cast<GgufType>(tensor.type->id), data + from * row_bytes, run * width,
                 out + (row - begin) * width);
      row += run;
    }
    // Heads are read whole, in one order or the other.
    const int64_t unit = part.order == HeadRows::Interleaved ? head_dim : 1;
    const int64_t first = begin / unit * unit;
    const int64_t last = (end + unit - 1) / unit * unit;
    file_.release(tensor, first * row_bytes, last * row_bytes);
    if (!all_finite(out, (end - begin) * width)) {
      throw_user("{}: tensor '{}' holds values that are not finite: the file is damaged",
                 file_.path(), part.name);
    }
  }

  GgufFile file_;
  std::string architecture_;
  CheckpointInfo info_;
  std::map<std::string, std::vector<Part>> params_;
};

}  // namespace

std::unique_ptr<ModelSource> open_gguf(const std::string& path) {
  return std::make_unique<GgufSource>(path);
}

}  // namespace pivot
