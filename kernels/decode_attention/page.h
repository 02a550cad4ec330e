#pragma once
/// What the decoding kernel does with one page of the cache.

#include <cstdint>

namespace pivot::decode {

/// scores (rows, kPageTokens): the page's keys against queries (rows, D), bits of score_tile.h.
/// Lanes beyond the sequence's end hold numbers of no meaning. `next` is the key page that will be
/// wanted afterwards, or null.
struct ScorePage {
  float* scores;
  const float* queries;
  const float* k_page;
  const float* next;
  int64_t rows, head_dim;
};
void score_page(const ScorePage& a);

/// acc[r] += sum_j weights[r][j] * v[j] over j in [0, count), in the order of j: weights (rows,
/// ...) with row r at weights + r * weight_stride, v (count, D), row r of acc (D) at acc + r *
/// acc_stride. `next` is where the values wanted afterwards lie, or null.
struct AddValues {
  float* acc;
  int64_t acc_stride;
  const float* weights;
  int64_t weight_stride;
  const float* v;
  const float* next;
  int64_t rows, count, head_dim;
};
void add_values(const AddValues& a);

/// A running softmax over part of a row: sums are relative to the maximum so far.
struct Partial {
  float max;   // of the scores, before scale; -inf while empty
  float sum;   // sum of exp(scale * (score - max))
  float* acc;  // (D): sum of exp(scale * (score - max)) * value; null where only lse is wanted
};

/// Takes in `count` <= kPageTokens scores; turns them into weights exp(scale * (score - max)) in
/// place for the caller to add values with. Rescales sum and acc (D).
void take_scores(Partial& partial, float* scores, int64_t count, float scale, int64_t head_dim);

/// True if one of the scores is NaN.
bool any_nan(const float* scores, int64_t count);

}  // namespace pivot::decode
