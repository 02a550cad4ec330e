#pragma once
/// Loss of held-out text: per token, per byte, and by the position in the document.

#include <vector>

#include "src/eval/corpus.h"
#include "src/eval/progress.h"
#include "src/eval/statistics.h"

namespace pivot::eval {

/// Tokens at the rows [from, to) of their documents: row t has t + 1 tokens to look at.
struct PositionBucket {
  int64_t from = 0, to = 1;
  double loss = 0;  // sum, nats
  int64_t n = 0;
};

struct ItemLoss {
  int64_t id = 0;
  double loss = 0;  // sum over the item's asked tokens, nats
  int64_t n = 0;
};

struct PerplexityResult {
  std::vector<ItemLoss> items;
  std::vector<PositionBucket> buckets;  // [0, 1), [1, 2), [2, 4), [4, 8), ...
  int64_t bytes = 0;                    // 0 where unknown
};

struct PerplexityTask {
  const Corpus& corpus;
  std::vector<int64_t> items;
  /// The first tokens of every document are context only: what they predict does not count.
  int64_t prefix = 0;

  PerplexityResult run(Predictor& predictor, Progress& progress) const;
};

struct PerplexityScores {
  Estimate loss;           // nats per token, clustered by item
  Estimate perplexity;     // exp(loss); its error by the delta method
  Estimate bits_per_byte;  // n = 0 where bytes are unknown
};
PerplexityScores score(const PerplexityResult& result);

/// Difference of the loss per token, b - a, paired by item. Both must come from the same items.
Estimate compare(const PerplexityResult& a, const PerplexityResult& b);

/// Bucket of a row: 0, then 1 + floor(log2(row)).
size_t position_bucket(int64_t row);

}  // namespace pivot::eval
