/// Projection and cross-entropy on the GPU. Its fused row kernel: softmax_rows_test.cc.

#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "kernels/cross_entropy/logit_chunks.h"
#include "tests/kernels/op_harness.h"

namespace pivot::test {
namespace {

/// Losses only.
struct LossRef : ref::LinearCrossEntropyRef {
  static std::vector<ref::Operand> operands(const ref::OpCase& c) {
    std::vector<ref::Operand> all = LinearCrossEntropyRef::operands(c);
    std::erase_if(all, [](const ref::Operand& o) { return o.name == "dx" || o.name == "dw"; });
    return all;
  }
  template <class S>
  static void run(const ref::OpCase& c, ref::ValueMap<S>& t) {
    t["dx"].resize(static_cast<size_t>(c.dims.n * c.dims.c));
    t["dw"].resize(static_cast<size_t>(c.dims.v * c.dims.c));
    LinearCrossEntropyRef::run(c, t);
  }
};

}  // namespace

TEST_CASE("linear_cross_entropy on CUDA") {
  check_cuda_op<ref::LinearCrossEntropyRef>();
}

TEST_CASE("linear_cross_entropy on CUDA: losses alone") {
  check_cuda_op<LossRef>();
}

TEST_CASE("chunks of logits are as long as documented") {
  const auto rows = [](int64_t n, int64_t vocab, DType dtype) {
    LinearCrossEntropy a{};
    a.x = {nullptr, dtype, {n, 8}};
    a.w = {nullptr, dtype, {vocab, 8}};
    return logit_chunks(a).rows;
  };
  CHECK(rows(65536, 50304, DType::BF16) == 2048);
  CHECK(rows(65536, 50304, DType::F32) == 1024);
  CHECK(rows(65536, 128256, DType::BF16) == 1024);
  CHECK(rows(65536, 256, DType::BF16) == 8192);
  CHECK(rows(100, 256, DType::BF16) == 100);
}

}  // namespace pivot::test
