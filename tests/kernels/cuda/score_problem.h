#pragma once
/// scores = a b^T as an argument of a kernel.

#include "src/base/platform.h"
#include "tests/kernels/cuda/score_kernels.h"

namespace pivot::test {

struct ScoreProblem {
  const BFloat16* a;  // (a_rows, width)
  const BFloat16* b;  // (b_rows, width)
  float* scores;
  unsigned a_rows;
  unsigned b_rows;
  int64_t a_stride;  // of the scores, between rows of a and of b
  int64_t b_stride;
  int width;

  PIVOT_HD void store(int64_t a_row, int64_t b_row, float score) const {
    scores[a_row * a_stride + b_row * b_stride] = score;
  }
};

inline ScoreProblem problem_of(const ScoreTensors& t, Roles roles) {
  const int64_t columns = t.k.dim(0);
  const bool swapped = roles == Roles::Swapped;
  const Tensor& a = swapped ? t.k : t.q;
  const Tensor& b = swapped ? t.q : t.k;
  return {.a = a.as<BFloat16>(),
          .b = b.as<BFloat16>(),
          .scores = t.scores.as<float>(),
          .a_rows = static_cast<unsigned>(a.dim(0)),
          .b_rows = static_cast<unsigned>(b.dim(0)),
          .a_stride = swapped ? 1 : columns,
          .b_stride = swapped ? columns : 1,
          .width = static_cast<int>(a.dim(1))};
}

}  // namespace pivot::test
