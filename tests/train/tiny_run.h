#pragma once
/// A run small enough for tests: a model of two layers and loaders that live in memory.

#include <functional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "src/base/philox.h"
#include "train/options.h"
#include "train/trainer.h"

namespace pivot::test {

inline ModelConfig tiny_model(int64_t vocab = 40) {
  ModelConfig c;
  c.vocab = vocab;
  c.dim = 32;
  c.layers = 2;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 16;
  c.ffn_dim = 48;
  c.context = 32;
  return c;
}

/// Eight rows of 32 tokens a step.
inline TrainOptions tiny_options(const std::string& output) {
  TrainOptions o;
  o.output = output;
  o.device = "cpu";
  o.steps = 20;
  o.threads = 2;
  o.diagnostics_every = 7;
  o.spike_sigma = 0;
  o.model = tiny_model();
  o.data.train = {"memory"};
  o.data.seq_len = 32;
  o.batch.tokens = 256;
  o.batch.micro = 4;
  o.attention.spec = "topk:k=4";
  o.optim.lr = 3e-3;
  o.checkpoint.every = "0";
  return o;
}

/// Rows of two documents each; a third of the targets is masked, another third in every other row.
/// `token(row, position)` may replace the random tokens.
class MemoryLoader : public Loader {
 public:
  using TokenOf = std::function<int32_t(int64_t row, int64_t position)>;
  explicit MemoryLoader(int64_t seq_len = 32, int64_t vocab = 40, TokenOf token = {})
      : seq_len_(seq_len), vocab_(vocab), token_(std::move(token)) {}

  Batch batch(int64_t first_row, int64_t rows) const override {
    Batch b;
    b.rows = rows;
    for (int64_t row = first_row; row < first_row + rows; ++row) append(row, b);
    b.doc_offsets.push_back(static_cast<int32_t>(b.tokens.size()));
    for (size_t d = 1; d < b.doc_offsets.size(); ++d) {
      b.max_document = std::max<int64_t>(b.max_document, b.doc_offsets[d] - b.doc_offsets[d - 1]);
    }
    b.bytes = b.valid_targets();
    return b;
  }
  int64_t seq_len() const override { return seq_len_; }
  int64_t epoch_tokens() const override { return 64 * seq_len_; }
  int64_t epoch_rows() const override { return 64; }
  std::string tokenizer_hash() const override { return "hash"; }
  int64_t vocab() const override { return vocab_; }

 private:
  void append(int64_t row, Batch& b) const {
    const Philox random(7, Stream::Test, static_cast<uint32_t>(row));
    // Row 0 of every four is a single document, so that the longest one is a whole row.
    const int64_t cut =
        row % 4 == 0
            ? seq_len_
            : 3 + static_cast<int64_t>(random.below(static_cast<uint64_t>(seq_len_ - 6), 99));
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < seq_len_; ++t) {
      const auto drawn = static_cast<int32_t>(
          random.below(static_cast<uint64_t>(vocab_), static_cast<uint64_t>(t)));
      ids.push_back(token_ ? token_(row, t) : drawn);
    }
    for (int64_t t = 0; t < seq_len_; ++t) {
      if (t == 0 || t == cut) b.doc_offsets.push_back(static_cast<int32_t>(b.tokens.size()));
      const bool ends = t + 1 == cut || t + 1 == seq_len_;
      const bool masked = !token_ && (t % 3 == 0 || (row % 2 == 1 && t % 3 == 1));
      b.tokens.push_back(ids[static_cast<size_t>(t)]);
      b.positions.push_back(static_cast<int32_t>(t < cut ? t : t - cut));
      b.targets.push_back(ends || masked ? kNoTarget : ids[static_cast<size_t>(t + 1)]);
    }
  }

  int64_t seq_len_, vocab_;
  TokenOf token_;
};

/// peak_flops is given, so that no test measures it.
inline TrainInputs tiny_inputs(const Loader& train, const Loader* validation = nullptr) {
  return {.train = train,
          .validation = validation,
          .tokenizer_kind = "bytes",
          .tokenizer_bytes = "",
          .tokenizer_hash = "hash",
          .peak_flops = 1e10};
}

inline std::vector<float> values_of(const Tensor& t) {
  return {t.as<float>(), t.as<float>() + t.count()};
}

}  // namespace pivot::test
