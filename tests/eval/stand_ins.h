#pragma once
/// Predictors that know everything or nothing: they prove that the harness measures what it says.

#include <cmath>
#include <span>
#include <vector>

#include "src/base/philox.h"
#include "src/eval/predictor.h"

namespace pivot::test {

/// Always right, with probability one.
class Oracle : public eval::Predictor {
 public:
  std::vector<std::vector<eval::Prediction>> predict(std::span<const eval::EvalDocument> documents,
                                                     eval::Want) override {
    std::vector<std::vector<eval::Prediction>> out;
    for (const eval::EvalDocument& d : documents) {
      out.emplace_back();
      for (const int64_t row : eval::asked_rows(d)) {
        out.back().push_back({d.targets[static_cast<size_t>(row)], 0});
      }
    }
    ++calls;
    return out;
  }
  int64_t batch_tokens() const override { return 100; }
  int calls = 0;
};

/// Each choice in [first, first + choices) equally likely, whatever the document.
class Guesser : public eval::Predictor {
 public:
  Guesser(int32_t first, int32_t choices, uint64_t seed)
      : first_(first), choices_(choices), random_(seed, Stream::Test) {}
  std::vector<std::vector<eval::Prediction>> predict(std::span<const eval::EvalDocument> documents,
                                                     eval::Want) override {
    std::vector<std::vector<eval::Prediction>> out;
    for (const eval::EvalDocument& d : documents) {
      out.emplace_back();
      for (size_t i = 0; i < eval::asked_rows(d).size(); ++i) {
        const auto pick = random_.below(static_cast<uint64_t>(choices_), next_++);
        out.back().push_back(
            {first_ + static_cast<int32_t>(pick), -std::log(static_cast<double>(choices_))});
      }
    }
    return out;
  }
  int64_t batch_tokens() const override { return 64; }

 private:
  int32_t first_, choices_;
  Philox random_;
  uint64_t next_ = 0;
};

}  // namespace pivot::test
