#pragma once
/// What every evaluation runs on: something that predicts the next token of given documents.
/// The trained model is one (by the training path or by stepwise decoding); an oracle and a guesser
/// are others, which the tests use to prove the harness.

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"

namespace pivot::eval {

/// One document, or a part of one that stands alone.
struct EvalDocument {
  int64_t id = 0;                // number of the item in its corpus
  std::vector<int32_t> tokens;   // (T)
  std::vector<int32_t> targets;  // (T): token to be predicted after row t; kNoTarget: not asked
};

/// Rows whose next token is asked, in order.
std::vector<int64_t> asked_rows(const EvalDocument& document);

struct Prediction {
  int32_t token;  // most probable next token, lowest id among equals; -1: not wanted, or NaN logits
  double logprob;  // of the target, nats
};

/// Losses alone can be had without looking at the best token, which is faster.
enum class Want { Logprob, TokenToo };

class Predictor {
 public:
  virtual ~Predictor() = default;
  /// For each document one prediction per asked row. The prediction of row t depends on tokens
  /// [0, t] of its own document alone.
  virtual std::vector<std::vector<Prediction>> predict(std::span<const EvalDocument> documents,
                                                       Want want) = 0;
  /// Tokens that it likes to be given at once.
  virtual int64_t batch_tokens() const = 0;
  /// Mean share of the softmax on kept keys so far, per layer; empty where it is not known.
  virtual std::vector<double> kept_mass() const { return {}; }
};

/// Log-probability of `target` and the best token, from logits (V); token -1 and NaN if one is NaN.
Prediction read_logits(std::span<const float> logits, int32_t target);

}  // namespace pivot::eval
