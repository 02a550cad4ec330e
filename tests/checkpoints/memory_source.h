#pragma once
/// A model in memory.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints/model_source.h"

namespace pivot::test {

class MemorySource : public ModelSource {
 public:
  /// Weights are multiples of 1/64 up to 2: exact in every type, blocks of Q8_0 apart.
  explicit MemorySource(CheckpointInfo info) : info_(std::move(info)) {
    const auto count = static_cast<size_t>(parameter_count(info_.model));
    for (size_t i = 0; i < count; ++i) {
      weights.push_back(static_cast<float>(static_cast<int>(i * 37 % 255) - 127) / 64);
    }
  }
  const CheckpointInfo& info() const override { return info_; }
  std::string describe() const override { return "memory"; }
  void read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const override {
    const int64_t width = param.shape.count() / param.shape[0];
    std::copy_n(weights.data() + param.offset + begin * width, (end - begin) * width, out);
  }

  std::vector<float> weights;  // in the order of list_params

 private:
  CheckpointInfo info_;
};

/// All weights of a source, in the order of list_params.
inline std::vector<float> all_weights(const ModelSource& source) {
  const ModelConfig& config = source.info().model;
  std::vector<float> all(static_cast<size_t>(parameter_count(config)));
  for (const ParamInfo& param : list_params(config)) {
    source.read(param, 0, param.shape[0], all.data() + param.offset);
  }
  return all;
}

}  // namespace pivot::test
