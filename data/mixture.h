#pragma once
/// Which source each row of a run comes from, with exact proportions and without state.

#include <cstdint>
#include <string>
#include <vector>

namespace pivot {

/// "path@weight"; the weight is 1 without "@weight".
struct WeightedSource {
  std::string path;
  int64_t numerator = 1;  // weight = numerator / denominator
  int64_t denominator = 1;
};

/// Throws UserError on a weight that is not a positive number ("data/x@0.3", "data/x@30%").
WeightedSource parse_weighted_source(const std::string& text);

/// Rows are dealt in periods in which every source occurs in exact proportion to its weight, spread
/// as evenly as can be (always the source that is furthest behind). The seed chooses where in the
/// period a run starts.
class Mixture {
 public:
  /// Throws UserError when the weights need a period above 2^16 rows.
  Mixture(const std::vector<WeightedSource>& sources, uint64_t seed);

  struct Row {
    int64_t source = 0;
    int64_t row = 0;  // how many rows of this source came before
  };
  Row at(int64_t row) const;
  int64_t period() const { return static_cast<int64_t>(order_.size()); }

 private:
  int64_t occurrences(int64_t source, int64_t rows) const;
  std::vector<int32_t> order_;                // (period): source
  std::vector<int32_t> before_;               // (period): earlier rows of the same source
  std::vector<std::vector<int32_t>> places_;  // (sources): its positions in the period
  int64_t shift_ = 0;
};

}  // namespace pivot
