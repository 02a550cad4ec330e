#pragma once
/// A model whose weights can be read piece by piece, whatever it is stored as: a Pivot checkpoint,
/// a Hugging Face directory, a GGUF file.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "checkpoints/checkpoint.h"
#include "src/base/parallel.h"

namespace pivot {

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  /// Configuration, attention ("dense" where nothing is recorded), tokenizer and companions. A
  /// model without a tokenizer has the kind "".
  virtual const CheckpointInfo& info() const = 0;
  /// For people: "Hugging Face llama, BF16, 3 files".
  virtual std::string describe() const = 0;
  /// Rows [begin, end) of the outermost dimension of a parameter of list_params(info().model), as
  /// F32. Files are mapped: memory is that of `out`. Safe to call from several threads. Throws
  /// UserError naming file and tensor on damage.
  virtual void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const = 0;
  /// BF16 where that holds every value of the parameter exactly because it is stored so, else F32.
  virtual DType stored_type(const ParamInfo& /*param*/) const { return DType::F32; }
};

/// Help of the options that take a model.
inline constexpr char kModelDoc[] =
    "checkpoint, run directory, Hugging Face directory or .gguf file";

/// What --model means by `path`: a run directory or directory of checkpoints is its newest complete
/// checkpoint, anything else the path itself. Throws UserError saying what was found instead.
std::string find_model(const std::string& path);

/// Opens what users pass as --model: a checkpoint, a run directory (its newest checkpoint), a
/// directory of checkpoints, a Hugging Face directory (config.json) or a .gguf file. Everything
/// that can be checked without reading weights is checked. Throws UserError saying what was found
/// instead.
std::unique_ptr<ModelSource> open_model(const std::string& path);

/// The same for a Pivot checkpoint alone, its path as find_checkpoint() gives it.
std::unique_ptr<ModelSource> open_checkpoint(const std::string& path);

/// source.read(), shared out over the pool (none: by the caller alone).
void read_rows(const ModelSource& source, const ParamInfo& param, int64_t begin, int64_t end,
               float* out, ThreadPool* pool);

/// Fills flat (P) F32 host memory in the order of list_params(source.info().model).
void read_weights(const ModelSource& source, const Tensor& flat, ThreadPool* pool = nullptr);

/// How weights are stored: Auto is BF16 where the source says so (lossless), else F32.
enum class WeightType { Auto, F32, BF16, F16 };
/// "auto", "f32", "bf16", "f16". Throws UserError.
WeightType parse_weight_type(std::string_view text);
/// The type of one parameter in a file that holds F32 and BF16. Throws UserError for F16.
DType stored_as(WeightType type, const ModelSource& source, const ParamInfo& param);

struct SaveOptions {
  WeightType type = WeightType::Auto;
  ThreadPool* pool = nullptr;                              // converts rows, if there
  std::function<void(int64_t values)> progress = nullptr;  // hears of values written
  std::vector<CheckpointFile> more = {};                   // written beside
};

/// Writes DIR/step_XXXXXXXX with the weights of `source` and without moments, a few MB at a time.
/// Throws as save_checkpoint, and UserError where the source is damaged.
std::string save_checkpoint(const std::string& dir, const CheckpointInfo& info,
                            const ModelSource& source, const SaveOptions& options = {});

}  // namespace pivot
