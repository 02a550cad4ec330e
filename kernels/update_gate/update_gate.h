#pragma once
/// Whether and how a step's update is applied, decided where the gradients are: a step needs no
/// answer from the host.
/// Gradients are those of the sum of the losses; the number of targets is divided by here.
///   loss = sum losses / targets;   norm = sqrt(norm_squared) / targets
///   apply = loss and norm are finite and loss <= limit
///   grad_scale = (grad_clip / norm if grad_clip > 0 and norm > grad_clip, else 1) / targets
/// The sum is in double, in a fixed order; loss and norm are rounded to fp32 before they decide.

#include "kernels/op.h"

namespace pivot {

struct UpdateGate {
  Tensor scalars;       // in-out (5) F32: AdamWScalars, of which grad_scale and apply are written
  Tensor result;        // out (3) F32: loss, norm, apply (1 or 0)
  Tensor losses;        // in (N) F32, of every token of the step
  Tensor norm_squared;  // in (1) F32: sum of the squares of all gradients
  Tensor limits;        // in (2) F32: number of targets, at least 1; highest loss that is applied
  float grad_clip;      // 0: off
};
void check(const UpdateGate& a);
Cost cost(const UpdateGate& a);
void update_gate_cpu(const UpdateGate& a, Context& ctx);
void update_gate_cuda(const UpdateGate& a, Context& ctx);
inline constexpr Op<UpdateGate> update_gate{"update_gate", &update_gate_cpu,
                                            PIVOT_CUDA_TWIN(update_gate_cuda)};

}  // namespace pivot
