#pragma once
/// A model whose weights can be read piece by piece, whatever it is stored as: a Pivot checkpoint,
/// a Hugging Face directory, a GGUF file.

#include <cstdint>
#include <memory>
#include <string>

#include "checkpoints/checkpoint.h"

namespace pivot {

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  /// Configuration, attention ("dense" where nothing is recorded), tokenizer and companions.
  virtual const CheckpointInfo& info() const = 0;
  /// For people: "Hugging Face llama, BF16, 3 files".
  virtual std::string describe() const = 0;
  /// Rows [begin, end) of the outermost dimension of a parameter of list_params(info().model), as
  /// F32. Files are mapped: memory is that of `out`. Safe to call from several threads. Throws
  /// UserError naming file and tensor on damage.
  virtual void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const = 0;
};

/// Opens what users pass as --model: a checkpoint, a run directory (its newest checkpoint), a
/// directory of checkpoints, a Hugging Face directory (config.json) or a .gguf file. Everything
/// that can be checked without reading weights is checked. Throws UserError saying what was found
/// instead.
std::unique_ptr<ModelSource> open_model(const std::string& path);

/// Fills flat (P) F32 host memory in the order of list_params(source.info().model).
void read_weights(const ModelSource& source, const Tensor& flat);

/// Writes DIR/step_XXXXXXXX with the weights of `source` and without moments, a few rows at a time.
/// Throws as save_checkpoint.
std::string save_checkpoint(const std::string& dir, const CheckpointInfo& info,
                            const ModelSource& source);

}  // namespace pivot
