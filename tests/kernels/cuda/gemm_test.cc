/// Linear layers on the GPU, and what kernels/cuda/blas.h promises.

#include <algorithm>
#include <cstring>

#include "kernels/attention/score_bits.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/blas_choices.h"
#include "kernels/lora/lora_ref.h"
#include "kernels/matmul/matmul_ref.h"
#include "src/base/file.h"
#include "tests/kernels/op_harness.h"
#include "tests/support/cuda_context.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

using cuda::Blas;
using cuda::BlasChoices;
using cuda::BlasGemm;

/// F32 logits of BF16 operands.
struct LogitsRef : ref::MatmulForwardRef {
  static std::vector<ref::Operand> operands(const ref::OpCase& c) {
    std::vector<ref::Operand> all = MatmulForwardRef::operands(c);
    std::erase_if(all,
                  [](const ref::Operand& o) { return o.name == "bias" || o.name == "residual"; });
    all[0].dtype = DType::F32;
    return all;
  }
};

/// The residual is y itself.
struct InPlaceRef : ref::MatmulForwardRef {
  static std::vector<ref::Operand> operands(const ref::OpCase& c) {
    std::vector<ref::Operand> all = MatmulForwardRef::operands(c);
    all.pop_back();
    all[0].role = ref::Role::InOut;
    return all;
  }
  template <class S>
  static void run(const ref::OpCase& c, ref::ValueMap<S>& t) {
    t["residual"] = t["y"];
    MatmulForwardRef::run(c, t);
    t.erase("residual");
  }
  static void call(const ref::OpCase&, const ref::TensorMap& t, Context& ctx) {
    const Tensor y = t.at("y");
    matmul_forward({.y = y, .x = t.at("x"), .w = t.at("w"), .bias = t.at("bias"), .residual = y},
                   ctx);
  }
};

std::vector<BFloat16> random_bf16(int64_t count, uint32_t substream) {
  const Philox random(1, Stream::Test, substream);
  std::vector<BFloat16> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = to_bfloat16(static_cast<float>(random.normal(i)));
  }
  return values;
}

/// y = x w^T in F32, the operands BF16.
BlasGemm scores_of(const CudaBuffer& x, const CudaBuffer& w, const CudaBuffer& y) {
  const Tensor tx = x, tw = w, ty = y;
  return {.m = tx.dim(0),
          .n = tw.dim(0),
          .k = tx.dim(1),
          .inputs = DType::BF16,
          .outputs = DType::F32,
          .a = {tx.data, Layout::Plain, tx.dim(1)},
          .b = {tw.data, Layout::Transposed, tw.dim(1)},
          .d = ty.data,
          .d_stride = ty.dim(1)};
}

int differences(const std::vector<float>& a, const std::vector<float>& b) {
  int count = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    count += std::memcmp(&a[i], &b[i], sizeof(float)) != 0 ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("matmul on CUDA") {
  check_cuda_op<ref::MatmulForwardRef>();
  check_cuda_op<ref::MatmulBackwardRef>();
}

TEST_CASE("low-rank adaptation on CUDA") {
  check_cuda_op<ref::LoraMergeRef>();
  check_cuda_op<ref::LoraBackwardRef>();
}

TEST_CASE("matmul on CUDA: F32 results of BF16 operands") {
  check_cuda_op<LogitsRef>();
}

TEST_CASE("matmul on CUDA: the residual is y") {
  check_cuda_op<InPlaceRef>();
}

TEST_CASE("a row's result does not depend on the other rows") {
  const int64_t rows = 16, inputs = 320, outputs = 96, row = 5;
  CudaTestContext ctx;
  CudaBuffer w(ctx, {outputs, inputs}, random_bf16(outputs * inputs, 0));
  std::vector<BFloat16> x = random_bf16(rows * inputs, 1);
  CudaBuffer y(ctx, DType::F32, {rows, outputs});
  const auto result = [&] {
    const CudaBuffer in(ctx, {rows, inputs}, x);
    cuda::gemm(scores_of(in, w, y), ctx);
    const std::vector<float> all = y.download<float>();
    return std::vector<float>(all.begin() + row * outputs, all.begin() + (row + 1) * outputs);
  };
  const std::vector<float> before = result();
  for (int64_t i = 0; i < rows * inputs; ++i) {
    if (i / inputs != row) x[static_cast<size_t>(i)] = to_bfloat16(static_cast<float>(i % 7) - 3);
  }
  CHECK(differences(before, result()) == 0);
}

// docs/semantics.md: scores have the same bits however they are computed on the GPU.
TEST_CASE("every algorithm computes scores in the order of the tensor cores") {
  CudaTestContext ctx;
  for (const int64_t width : {64, 128}) {
    const int64_t rows = 200, keys = 264;
    const std::vector<BFloat16> q = random_bf16(rows * width, 2);
    const std::vector<BFloat16> k = random_bf16(keys * width, 3);
    std::vector<float> want;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < keys; ++j) {
        want.push_back(
            mma_dot(q.data() + i * width, k.data() + j * width, static_cast<int>(width)));
      }
    }
    CudaBuffer tq(ctx, {rows, width}, q);
    CudaBuffer tk(ctx, {keys, width}, k);
    Blas& blas = cuda::state<Blas>(ctx.ctx.device.index);
    CudaBuffer scores(ctx, DType::F32, {rows, keys});
    const BlasGemm g = scores_of(tq, tk, scores);
    REQUIRE(blas.candidates(g) > 0);
    for (int i = 0; i < blas.candidates(g); ++i) {
      INFO("width " << width << ", algorithm " << i << " of " << blas.candidates(g));
      blas.run_candidate(g, i);
      CHECK(differences(want, scores.download<float>()) == 0);
    }
  }
}

TEST_CASE("choices are measured, kept and loaded") {
  const TempDir dir;
  const std::string path = dir / "gemm_choices.json";
  CudaTestContext ctx;
  const int64_t rows = 512, inputs = 256, outputs = 1024;
  CudaBuffer x(ctx, {rows, inputs}, random_bf16(rows * inputs, 4));
  CudaBuffer w(ctx, {outputs, inputs}, random_bf16(outputs * inputs, 5));
  // Sums start from ones, so that measuring on the caller's memory would show.
  const std::vector<float> ones(static_cast<size_t>(rows * outputs), 1.0F);
  const auto accumulate = [&](Blas& blas) {
    CudaBuffer y(ctx, {rows, outputs}, ones);
    BlasGemm g = scores_of(x, w, y);
    g.c = g.d;
    blas.run(g);
    return y.download<float>();
  };
  Blas measuring(ctx.ctx.device.index);
  measuring.set_measuring(true);
  const std::vector<float> first = accumulate(measuring);
  CHECK(differences(first, accumulate(measuring)) == 0);
  measuring.save_choices(path);

  Blas resumed(ctx.ctx.device.index);
  CHECK(resumed.load_choices(path) == 1);
  CHECK(differences(first, accumulate(resumed)) == 0);
  const std::string again = dir / "again.json";
  resumed.save_choices(again);
  CHECK(read_file(again) == read_file(path));
  // Loading a file twice does not double entries, those of other cards included.
  BlasChoices elsewhere("another card", 1);
  CHECK(elsewhere.load(path) == 0);
  CHECK(elsewhere.load(again) == 0);
  elsewhere.save(again);
  CHECK(read_file(again) == read_file(path));

  // The heuristic's own choice may add in another order, but no more than once.
  Blas plain(ctx.ctx.device.index);
  const std::vector<float> other = accumulate(plain);
  double worst = 0;
  for (size_t i = 0; i < other.size(); ++i) {
    worst = std::max<double>(worst, std::abs(first[i] - other[i]));
  }
  CHECK(worst < 1e-3);
}

TEST_CASE("a file that is not one of choices is refused") {
  const TempDir dir;
  const std::string path = dir / "gemm_choices.json";
  Blas blas(0);
  for (const char* text : {"", "{}", "[1]", R"({"format": "other", "choices": []})",
                           R"({"format": "pivot gemm choices 1", "choices": [{"card": "x",
                               "cublas": 1, "problem": "m=1", "algorithm": "12"}]})"}) {
    write_file_atomically(path, text);
    CHECK_THROWS_AS(blas.load_choices(path), UserError);
  }
  CHECK_THROWS_AS(blas.load_choices(dir / "missing.json"), UserError);
}

}  // namespace pivot::test
