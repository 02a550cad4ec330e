#pragma once
/// Ways to compute scores (R, C) F32 = q (R, D) k (C, D)^T of bfloat16 rows on the device, R, C and
/// D multiples of 64.

#include "src/core/context.h"
#include "src/core/tensor.h"

namespace pivot::test {

struct ScoreTensors {
  Tensor scores;  // out (R, C) F32
  Tensor q;       // in  (R, D) BF16
  Tensor k;       // in  (C, D) BF16
};

/// Which of q and k is the first operand: Swapped computes K Q^T and stores it transposed.
enum class Roles { Straight, Swapped };
enum class Steps { Ascending, Descending };

/// mma.sync m16n8k16.
void mma_scores(const ScoreTensors& t, Roles roles, Steps steps, Context& ctx);
/// kernels/attention/score_bits.h, a thread a score.
void integer_scores(const ScoreTensors& t, Context& ctx);
/// The chain of fused multiply-adds in ascending order.
void chain_scores(const ScoreTensors& t, Context& ctx);

/// wgmma m64n64k16, the first operand in registers or in shared memory. sm_90 only.
enum class FirstOperand { Shared, Registers };
void wgmma_scores(const ScoreTensors& t, FirstOperand first, Roles roles, Context& ctx);

}  // namespace pivot::test
