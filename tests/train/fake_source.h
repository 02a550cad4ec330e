#pragma once
/// A model to start from that lives in memory.

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "checkpoints/model_source.h"
#include "tests/support/test_context.h"

namespace pivot::test {

class FakeSource : public ModelSource {
 public:
  explicit FakeSource(const ModelConfig& model, uint64_t seed = 9) {
    info_.model = model;
    info_.attention = "dense";
    info_.tokenizer_kind = "bytes";
    info_.tokenizer_hash = "hash";
    info_.companions = {{kTokenizerConfigFile, "{\"chat_template\": \"x\"}"},
                        {kHfConfigFile, "{}"}};
    weights.resize(static_cast<size_t>(parameter_count(model)));
    TestContext host(size_t{1} << 20, 1);
    init_params(model, view(weights.data(), {parameter_count(model)}), seed, host.ctx);
  }
  const CheckpointInfo& info() const override { return info_; }
  CheckpointInfo& edit() { return info_; }
  std::string describe() const override { return "a model in memory"; }
  void read(const ParamInfo& p, int64_t begin, int64_t end, float* out) const override {
    const int64_t row = p.shape.count() / p.shape[0];
    const auto first = weights.begin() + static_cast<std::ptrdiff_t>(p.offset);
    std::copy(first + begin * row, first + end * row, out);
    rows_read += end - begin;
  }

  std::vector<float> weights;  // (P)
  mutable std::atomic<int64_t> rows_read = 0;

 private:
  CheckpointInfo info_;
};

}  // namespace pivot::test
