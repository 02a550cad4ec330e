#include "src/eval/predictor.h"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"

namespace pivot::eval {

std::vector<int64_t> asked_rows(const EvalDocument& document) {
  PIVOT_CHECK(document.tokens.size() == document.targets.size(), "{} tokens, {} targets",
              document.tokens.size(), document.targets.size());
  std::vector<int64_t> rows;
  for (size_t t = 0; t < document.targets.size(); ++t) {
    if (document.targets[t] != kNoTarget) rows.push_back(static_cast<int64_t>(t));
  }
  return rows;
}

Prediction read_logits(std::span<const float> logits, int32_t target) {
  PIVOT_CHECK(target >= 0 && static_cast<size_t>(target) < logits.size(), "target {} of {} logits",
              target, logits.size());
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z) - *best);
  // A broken row must not look like a choice of token 0.
  if (std::isnan(sum)) return {-1, sum};
  return {static_cast<int32_t>(best - logits.begin()),
          static_cast<double>(logits[static_cast<size_t>(target)]) - *best - std::log(sum)};
}

}  // namespace pivot::eval
