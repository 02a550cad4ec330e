/// Every basic op against its reference: derived bounds, guards, thread counts, scratch, bad
/// shapes; and every reference's backward against central differences of its forward.

#include "kernels/adamw/adamw_ref.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "kernels/embedding/embedding_ref.h"
#include "kernels/lora/lora_ref.h"
#include "kernels/matmul/matmul_ref.h"
#include "kernels/qk_norm/qk_norm_ref.h"
#include "kernels/reduce/reduce_ref.h"
#include "kernels/rmsnorm/rmsnorm_ref.h"
#include "kernels/rope/rope_ref.h"
#include "kernels/swiglu/swiglu_ref.h"
#include "kernels/update_gate/update_gate_ref.h"
#include "tests/kernels/op_harness.h"

namespace pivot::test {

TEST_CASE("rmsnorm") {
  check_op<ref::RmsNormForwardRef>();
  check_op<ref::RmsNormBackwardRef>();
  check_gradients<ref::RmsNormBackwardRef>();
}

TEST_CASE("embedding") {
  check_op<ref::EmbeddingForwardRef>();
  check_op<ref::EmbeddingBackwardRef>();
  check_gradients<ref::EmbeddingBackwardRef>();
}

TEST_CASE("qk_norm") {
  check_op<ref::QkNormForwardRef>();
  check_op<ref::QkNormBackwardRef>();
}

TEST_CASE("rope") {
  check_op<ref::RopeRef<RopeDirection::Forward>>();
  check_op<ref::RopeRef<RopeDirection::Backward>>();
}

TEST_CASE("matmul") {
  check_op<ref::MatmulForwardRef>();
  check_op<ref::MatmulBackwardRef>();
  check_gradients<ref::MatmulBackwardRef>();
}

TEST_CASE("lora") {
  check_op<ref::LoraMergeRef>();
  check_op<ref::LoraBackwardRef>();
  check_gradients<ref::LoraBackwardRef>();
}

TEST_CASE("swiglu") {
  check_op<ref::SwigluForwardRef>();
  check_op<ref::SwigluBackwardRef>();
  check_gradients<ref::SwigluBackwardRef>();
}

TEST_CASE("linear_cross_entropy") {
  check_op<ref::LinearCrossEntropyRef>();
}

TEST_CASE("adamw") {
  check_op<ref::AdamWRef>();
}

TEST_CASE("sum_squares") {
  check_op<ref::SumSquaresRef>("x");
}

TEST_CASE("update_gate") {
  check_op<ref::UpdateGateRef>("losses");
}

}  // namespace pivot::test
