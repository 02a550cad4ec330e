#include "checkpoints/model_source.h"

#include <filesystem>

#include "checkpoints/gguf/gguf_source.h"
#include "checkpoints/hf/source.h"
#include "checkpoints/layout.h"
#include "checkpoints/manifest.h"
#include "checkpoints/tensor_file.h"
#include "src/base/check.h"
#include "src/core/hdf5.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

// Values a thread converts at once: enough to be worth handing over, few enough to share a piece.
constexpr int64_t kGrain = int64_t{1} << 16;
// Values read between two looks at the pool: 64 MiB.
constexpr int64_t kPiece = int64_t{1} << 24;

class CheckpointSource : public ModelSource {
 public:
  explicit CheckpointSource(const std::string& path)
      : info_(read_checkpoint_info(path)),
        tensors_(hdf5::File::open(path + "/" + layout::kModelFile), "/params",
                 list_params(info_.model)) {}

  const CheckpointInfo& info() const override { return info_; }
  std::string describe() const override {
    return fmt::format("Pivot checkpoint, step {}, trained with {}", info_.state.step,
                       info_.attention);
  }
  void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const override {
    tensors_.read(param, begin, end, out);
  }
  DType stored_type(const ParamInfo& param) const override { return tensors_.type(param); }

 private:
  CheckpointInfo info_;  // its reader has verified the bytes that are opened again and mapped
  MappedTensors tensors_;
};

bool is_gguf(const std::string& path) {
  return fs::is_regular_file(path) && fs::path(path).extension() == ".gguf";
}

bool is_checkpoint(const std::string& path) {
  return fs::exists(path + "/" + kManifestName);
}

}  // namespace

std::string find_model(const std::string& path) {
  if (is_gguf(path) || (!is_checkpoint(path) && is_hf_directory(path))) return path;
  return find_checkpoint(path);
}

std::unique_ptr<ModelSource> open_checkpoint(const std::string& path) {
  return std::make_unique<CheckpointSource>(path);
}

std::unique_ptr<ModelSource> open_model(const std::string& path) {
  const std::string found = find_model(path);
  if (is_gguf(found)) return open_gguf(found);
  if (is_checkpoint(found)) return open_checkpoint(found);
  return open_hf(found);
}

void read_rows(const ModelSource& source, const ParamInfo& param, int64_t begin, int64_t end,
               float* out, ThreadPool* pool) {
  if (pool == nullptr) return source.read(param, begin, end, out);
  const int64_t width = param.shape.count() / param.shape[0];
  pool->for_ranges(end - begin, std::max<int64_t>(1, kGrain / width),
                   [&](int64_t first, int64_t last) {
                     source.read(param, begin + first, begin + last, out + first * width);
                   });
}

void read_weights(const ModelSource& source, const Tensor& flat, ThreadPool* pool) {
  const std::vector<ParamInfo> params = list_params(source.info().model);
  expect(flat, DType::F32, {parameter_count(source.info().model)}, "weights");
  float* values = flat.as<float>();
  for_each_piece(params, kPiece, [&](const ParamInfo& p, int64_t begin, int64_t end) {
    const int64_t width = p.shape.count() / p.shape[0];
    read_rows(source, p, begin, end, values + p.offset + begin * width, pool);
  });
}

WeightType parse_weight_type(std::string_view text) {
  if (text == "auto") return WeightType::Auto;
  if (text == "f32") return WeightType::F32;
  if (text == "bf16") return WeightType::BF16;
  if (text == "f16") return WeightType::F16;
  throw_user("dtype '{}' is not known: auto, f32, bf16 or f16", text);
}

DType stored_as(WeightType type, const ModelSource& source, const ParamInfo& param) {
  switch (type) {
    case WeightType::Auto:
      return source.stored_type(param);
    case WeightType::F32:
      return DType::F32;
    case WeightType::BF16:
      return DType::BF16;
    case WeightType::F16:
      break;
  }
  throw_user("checkpoints hold f32 and bf16, not f16: use --dtype auto, f32 or bf16");
}

}  // namespace pivot
