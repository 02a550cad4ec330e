#pragma once
/// Arithmetic on rows picked by index, the kept keys of a query: sums in list order, fused.

#include <cstdint>

namespace pivot {

/// `count` rows of `width` (a multiple of 8) floats, row i at rows + index[i] * stride.
template <class Float>
struct RowsByIndex {
  Float* rows;
  int64_t stride;
  const int32_t* index;
  int64_t count;
  int width;
};
using GatheredRows = RowsByIndex<const float>;
using ScatteredRows = RowsByIndex<float>;

/// out[i] = a . row i
void gathered_dots(float* out, const float* a, const GatheredRows& g);
/// sum[c] += weight[i] * row i [c], for i in ascending order
void add_gathered_rows(float* sum, const float* weight, const GatheredRows& g);
/// row i [c] += weight[i] * a[c]; the indices are distinct
void add_to_rows(const ScatteredRows& g, const float* weight, const float* a);

}  // namespace pivot
