#include "kernels/cuda/blas_problem.h"

#include <algorithm>

#include "src/base/check.h"

namespace pivot::cuda {
namespace {

constexpr int kMostAlignment = 16;  // bytes of one vector access, and what TMA asks for

uintptr_t address_bits(const BlasGemm& g) {
  uintptr_t bits = kMostAlignment;
  for (const void* p : {g.a.data, g.b.data, static_cast<const void*>(g.d), g.c, g.bias}) {
    bits |= reinterpret_cast<uintptr_t>(p);
  }
  return bits;
}

cudaDataType_t cuda_type(DType dtype) {
  return dtype == DType::BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

const char* layout_name(Layout layout) {
  return layout == Layout::Plain ? "plain" : "transposed";
}

template <class T>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)),
             "describe a product");
}

template <class T>
void set(cublasLtMatmulPreferenceOpaque_t& preference,
         cublasLtMatmulPreferenceAttributes_t attribute, T value) {
  check_blas(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)),
             "state a preference");
}

/// A row-major (rows, columns) matrix, or the transposed one as it is stored.
cublasLtMatrixLayoutOpaque_t layout_of(DType dtype, Layout layout, int64_t rows, int64_t columns,
                                       int64_t stride) {
  if (layout == Layout::Transposed) std::swap(rows, columns);
  cublasLtMatrixLayoutOpaque_t result{};
  check_blas(cublasLtMatrixLayoutInit(&result, cuda_type(dtype), static_cast<uint64_t>(columns),
                                      static_cast<uint64_t>(rows), stride),
             "describe a matrix");
  return result;
}

cublasOperation_t operation_of(Layout layout) {
  return layout == Layout::Plain ? CUBLAS_OP_N : CUBLAS_OP_T;
}

/// The mask keeps these out already; this makes it a fact.
bool reproducible(const cublasLtMatmulAlgo_t& code) {
  uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
  check_blas(cublasLtMatmulAlgoConfigGetAttribute(&code, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME,
                                                  &scheme, sizeof(scheme), nullptr),
             "read an algorithm");
  return scheme == CUBLASLT_REDUCTION_SCHEME_NONE ||
         scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
}

}  // namespace

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw_error("cuBLASLt could not {}: {} ({})", what, cublasLtGetStatusString(status),
              cublasLtGetStatusName(status));
}

BlasKey::BlasKey(const BlasGemm& g)
    : m(g.m),
      n(g.n),
      k(g.k),
      a_stride(g.a.stride),
      b_stride(g.b.stride),
      d_stride(g.d_stride),
      inputs(g.inputs),
      outputs(g.outputs),
      a_layout(g.a.layout),
      b_layout(g.b.layout),
      c(g.c == nullptr ? Added::Nothing : (g.c == g.d ? Added::Itself : Added::Other)),
      bias(g.bias != nullptr) {
  const uintptr_t bits = address_bits(g);
  alignment = static_cast<int>(bits & (~bits + 1));  // its lowest bit
  PIVOT_CHECK(inputs == DType::BF16 || inputs == DType::F32, "inputs are {}", dtype_name(inputs));
  PIVOT_CHECK(outputs == DType::F32 || outputs == inputs, "{} inputs, {} outputs",
              dtype_name(inputs), dtype_name(outputs));
}

std::string to_string(const BlasKey& key) {
  const char* added[] = {"", " c=other", " c=itself"};
  return fmt::format("m={} n={} k={} a={}/{} b={}/{} d={} {}->{}{}{} align={}", key.m, key.n, key.k,
                     layout_name(key.a_layout), key.a_stride, layout_name(key.b_layout),
                     key.b_stride, key.d_stride, dtype_name(key.inputs), dtype_name(key.outputs),
                     added[static_cast<int>(key.c)], key.bias ? " bias" : "", key.alignment);
}

BlasProblem::BlasProblem(const BlasKey& key)
    : operation{},
      a(layout_of(key.inputs, key.a_layout, key.m, key.k, key.a_stride)),
      b(layout_of(key.inputs, key.b_layout, key.k, key.n, key.b_stride)),
      d(layout_of(key.outputs, Layout::Plain, key.m, key.n, key.d_stride)) {
  check_blas(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
             "describe a product");
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, operation_of(key.b_layout));
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, operation_of(key.a_layout));
  if (key.bias) {
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    // The heuristic reads the alignment off the address; one that has just the key's alignment
    // keeps it from depending on where the caller's memory happens to lie.
    set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
        reinterpret_cast<const void*>(static_cast<uintptr_t>(key.alignment)));
  }
}

std::vector<BlasAlgorithm> list_algorithms(cublasLtHandle_t handle, BlasProblem& problem,
                                           const BlasKey& key, int count, BlasLimits limits) {
  cublasLtMatmulPreferenceOpaque_t preference{};
  check_blas(cublasLtMatmulPreferenceInit(&preference), "state a preference");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kBlasWorkspace});
  const bool all = limits == BlasLimits::None;
  if (!all) {
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto side :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(preference, side, static_cast<uint32_t>(key.alignment));
    }
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(count));
  int returned = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &problem.operation, &problem.b, &problem.a, &problem.d,
                                     &problem.d, &preference, count, found.data(), &returned);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) check_blas(status, "list algorithms");
  std::vector<BlasAlgorithm> algorithms;
  for (int i = 0; i < returned; ++i) {
    const cublasLtMatmulHeuristicResult_t& r = found[static_cast<size_t>(i)];
    const bool fits = r.state == CUBLAS_STATUS_SUCCESS && r.workspaceSize <= kBlasWorkspace;
    if (fits && (all || reproducible(r.algo))) algorithms.push_back({r.algo, r.workspaceSize});
  }
  if (algorithms.empty()) throw_error("cuBLASLt has no algorithm for {}", to_string(key));
  return algorithms;
}

}  // namespace pivot::cuda
