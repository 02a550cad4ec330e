#pragma once
/// Predictions by the training path: one forward pass over packed documents (teacher forcing).

#include <memory>
#include <vector>

#include "src/core/context.h"
#include "src/eval/predictor.h"
#include "src/model/transformer.h"

namespace pivot::eval {

class TrainingPath : public Predictor {
 public:
  /// `model` (with its attention) must outlive this.
  TrainingPath(const Model& model, Device device, ThreadPool& pool, int64_t batch_tokens);

  std::vector<std::vector<Prediction>> predict(std::span<const EvalDocument> documents,
                                               Want want) override;
  int64_t batch_tokens() const override { return batch_tokens_; }
  /// Of the first batches only where tokens are wanted too (it takes a second pass), of all
  /// otherwise.
  std::vector<double> kept_mass() const override;

 private:
  struct Work;  // host results of one batch
  void run(const Work& work, Context& ctx);
  void losses(const Work& work, Context& ctx);
  void best_tokens(const Work& work, Context& ctx);

  const Model& model_;
  Device device_;
  ThreadPool& pool_;
  int64_t batch_tokens_;
  std::unique_ptr<Arena> arena_;  // as large as the largest batch so far
  std::vector<double> mass_;      // (L) sums over rows and heads
  int64_t mass_rows_ = 0;
};

}  // namespace pivot::eval
