#pragma once
/// Matrix products on CUDA devices: cuBLASLt behind one call. Without CUDA's headers.
///
/// Bits. An algorithm is chosen once per problem (shape, strides, layouts, dtypes, epilogue,
/// alignment) and stays for the life of the process. cuBLASLt repeats its bits on one stream, one
/// card and one version of the library if the algorithm is the same; algorithms that reduce partial
/// sums in place or in the output's type are not considered. So what remains is to make the same
/// choice in the next process:
///   - by default it is the first of cuBLASLt's heuristic, which depends on the problem, the card
///     and the library only;
///   - with set_measuring(true) it is the fastest of the heuristic's list, measured at the
///     problem's first product. Timings are noisy, so a run that is to be resumed keeps its choices
///     in a file (save_choices) and loads it first (load_choices). A loaded choice is used whether
///     or not measuring is on.
/// While a graph is recorded nothing can be measured: a problem that first appears there takes the
/// heuristic's first. Measuring never changes results of the caller: products that only overwrite
/// are timed in place, accumulations on a buffer of their own.
///
/// A row of the result does not depend on the other rows' values.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/matmul/gemm.h"
#include "src/core/context.h"
#include "src/core/cuda.h"

namespace pivot::cuda {

/// Memory for partial sums, once per device; `plan` counts it. 32 MiB is what cuBLAS recommends for
/// Hopper.
inline constexpr size_t kBlasWorkspace = size_t{32} << 20;

struct BlasOperand {
  const void* data;
  Layout layout;   // as of pivot::Gemm
  int64_t stride;  // between stored rows, in elements
};

/// d (m, n) = alpha op(a) op(b) + c + bias, row-major: op(a) is (m, k), op(b) is (k, n). Products
/// are added in fp32; F32 inputs are not rounded to TF32.
struct BlasGemm {
  int64_t m, n, k;
  DType inputs;   // of a and b: F32 or BF16
  DType outputs;  // of d, c and bias: F32, or that of the inputs
  BlasOperand a, b;
  void* d;
  int64_t d_stride;
  const void* c = nullptr;     // (m, n) with d's stride, or null; may be d
  const void* bias = nullptr;  // (n) or null: added to every row
  float alpha = 1;
};

/// cuBLASLt on one device: cuda::state<Blas>(index). The first use must be outside of a graph's
/// recording, since it allocates the workspace.
class Blas {
 public:
  explicit Blas(int device);
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  /// Launches the product on the device's stream. Throws Error naming the problem if cuBLASLt has
  /// no algorithm for it.
  void run(const BlasGemm& g);

  void set_measuring(bool on);
  /// Adds the file's choices for this card and version of cuBLAS; returns how many those are. To be
  /// called before the first product: what was chosen stays. Throws UserError if the file is not
  /// one of save_choices.
  int load_choices(const std::string& path);
  /// Writes all choices of this process and those of the loaded file, other cards' included.
  void save_choices(const std::string& path) const;

  /// The algorithms among which this problem's was chosen, for tests and benchmarks; run_candidate
  /// runs one of [0, candidates).
  int candidates(const BlasGemm& g);
  void run_candidate(const BlasGemm& g, int index);
  /// The product as a plain user of cuBLASLt computes it: the heuristic's first, nothing excluded.
  void run_reference(const BlasGemm& g);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The product on the context's device.
inline void gemm(const BlasGemm& g, Context& ctx) {
  state<Blas>(ctx.device.index).run(g);
}

/// What `pivot bench gemm` compares with.
inline void gemm_reference(const BlasGemm& g, Context& ctx) {
  state<Blas>(ctx.device.index).run_reference(g);
}

}  // namespace pivot::cuda
