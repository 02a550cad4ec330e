#pragma once
/// Decoding: prefill and step over sequences with KV caches, dense or exact Top-k.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/attention/policy.h"
#include "src/core/context.h"
#include "src/model/transformer.h"

namespace pivot {

struct EngineOptions {
  std::vector<AttentionPolicy> attention;  // per layer, decoding steps
  std::vector<AttentionPolicy> prefill;    // per layer, prompt
  int64_t max_context = 0;                 // capacity of a sequence's cache; 0: the model's context
  int max_sequences = 1;                   // sequences alive at once
  bool measure_kept_mass = true;           // for kept_mass(): one exponential per visible key
};

/// Results for one sequence never depend on which others are in the batch, bit for bit.
class Engine {
 public:
  /// `model` must outlive the engine. Throws UserError on sizes out of range.
  Engine(const Model& model, EngineOptions options, Device device, ThreadPool& pool);
  ~Engine();

  /// A new sequence, its prompt run through the model. Returns the sequence id.
  /// logits (V) of the last prompt token are in logits(id). Throws UserError if the prompt is
  /// empty, longer than max_context or has a token outside the vocabulary, or if max_sequences are
  /// alive.
  int prefill(const std::vector<int32_t>& prompt);
  /// Logits of every token, (T, V) F32 row by row, by `sink(row, logits)`, with the prefill
  /// policies; no sequence is left behind. Throws as prefill does.
  void score(const std::vector<int32_t>& tokens,
             const std::function<void(int64_t row, const float* logits)>& sink);
  /// Appends one token to each of the sequences, all different; afterwards logits(id) are of that
  /// token. Throws UserError, before anything has changed, when one is full.
  void step(const std::vector<int>& ids, const std::vector<int32_t>& tokens);
  /// Appends tokens to a sequence with the prefill policies; afterwards logits(id) are of the last
  /// one. They go through the model like steps, kStepRows rows at once: the bits are those of one
  /// step() a token with these policies, however the tokens are split over calls and whatever
  /// truncate() took away before. prefill() adds in another order: it gives the same up to the
  /// rounding of fp32 sums. Throws as step() and prefill() do, before anything has changed.
  void extend(int id, const std::vector<int32_t>& tokens);
  /// Forgets the tokens from `length` on. Until the sequence grows again it has no logits.
  void truncate(int id, int64_t length);
  /// Copy of a sequence (n samples from one prompt); shares cache pages until one of them grows.
  int fork(int id);
  void release(int id);

  const float* logits(int id) const;  // (V)
  int64_t length(int id) const;
  /// Whether prompts and steps have the same attention in every layer.
  bool same_attention() const;
  int64_t max_context() const;
  int64_t vocab() const;
  /// Bytes held by the KV caches.
  size_t cache_bytes() const;
  /// Mean share of the softmax on the kept keys over the decoding steps so far, per layer: 1 when
  /// dense and before the first step. Needs measure_kept_mass.
  std::vector<double> kept_mass() const;
  /// Begins the mean anew.
  void restart_kept_mass();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pivot
