#pragma once
/// Predictions by the decoder: each document's beginning is prefilled, the rest fed token by token
/// through the KV cache with the decoding attention.

#include "src/decode/engine.h"
#include "src/eval/predictor.h"

namespace pivot::eval {

class DecodingPath : public Predictor {
 public:
  /// `model` must outlive this. options.max_sequences documents are decoded side by side. Documents
  /// longer than options.max_context throw UserError.
  DecodingPath(const Model& model, const EngineOptions& options, Device device, ThreadPool& pool);

  /// Tokens before the first asked row are prefilled (the first token always); that row's token and
  /// all later ones go through the decoding attention.
  std::vector<std::vector<Prediction>> predict(std::span<const EvalDocument> documents,
                                               Want want) override;
  int64_t batch_tokens() const override;
  std::vector<double> kept_mass() const override { return engine_.kept_mass(); }

 private:
  EngineOptions options_;
  Engine engine_;
};

}  // namespace pivot::eval
