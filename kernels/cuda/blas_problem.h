#pragma once
/// A BlasGemm in cuBLASLt's terms. For the sources of Blas only.
///
/// cuBLASLt is column-major: it computes d^T = op(b)^T op(a)^T, so its A is our b and its B our a.

#include <compare>
#include <string>
#include <vector>

#include <cublasLt.h>

#include "kernels/cuda/blas.h"

namespace pivot::cuda {

/// Throws Error: "cuBLASLt could not {what}: {reason}".
void check_blas(cublasStatus_t status, const char* what);

/// Everything an algorithm may depend on besides the card and the library.
struct BlasKey {
  explicit BlasKey(const BlasGemm& g);

  int64_t m, n, k;
  int64_t a_stride, b_stride, d_stride;
  DType inputs, outputs;
  Layout a_layout, b_layout;
  enum class Added { Nothing, Other, Itself } c;
  bool bias;
  int alignment;  // of all pointers: 16 bytes at most, the most that any kernel asks for

  auto operator<=>(const BlasKey&) const = default;
};
/// "m=1024 n=768 k=256 a=plain/256 b=transposed/256 d=768 BF16->F32 c=itself bias align=16"
std::string to_string(const BlasKey& key);

/// cuBLASLt's descriptors of a problem.
struct BlasProblem {
  explicit BlasProblem(const BlasKey& key);

  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t a, b, d;  // a and b are ours
};

struct BlasAlgorithm {
  cublasLtMatmulAlgo_t code;
  size_t workspace = 0;  // bytes
};

enum class BlasLimits {
  Reproducible,  // no reduction in place or in the output's type; alignment as in the key
  None           // cuBLASLt's defaults
};
/// At most `count` of the heuristic's list, the one it thinks fastest first.
std::vector<BlasAlgorithm> list_algorithms(cublasLtHandle_t handle, BlasProblem& problem,
                                           const BlasKey& key, int count, BlasLimits limits);

}  // namespace pivot::cuda
