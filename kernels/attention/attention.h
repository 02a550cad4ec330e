#pragma once
/// Causal attention over packed documents, dense or exact Top-k, forward and backward.
///
/// Row t of document [b, e) sees the keys b..t. With s_tj = q_t . k_j (fp32, before scale) the kept
/// set is the first k in kernels/attention/order.h's order, k from kernels/attention/budget.h; then
///   p_tj = exp(scale * s_tj - lse_t) over the kept keys,   out_t = sum_j p_tj v_j.
/// The set is a constant in backward:  dp_tj = dout_t . v_j,  ds_tj = p_tj (dp_tj - delta_t) with
/// delta_t = dout_t . out_t.  docs/semantics.md is the full definition (ties, NaN, forced keys,
/// groups).
///
/// Q, K and V are sections of one tensor, as the QKV projection writes them: heads [0, H) of the
/// middle dimension are queries, [H, H + G) keys, [H + G, H + 2 G) values; query head h reads KV
/// head h / (H / G).

#include "kernels/attention/budget.h"
#include "kernels/attention/policy.h"
#include "kernels/op.h"

namespace pivot {

Budget budget_of(const AttentionPolicy& policy);

struct AttentionForward {
  Tensor out;          // out (T, H, D)
  Tensor lse;          // out (T, H) F32: log-sum-exp of the kept scaled scores
  Tensor tau;          // out (T, H) F32: score of the last kept key; -inf where all are kept
  Tensor jcut;         // out (T, H) I32: largest kept row index among scores equal to tau
  Tensor lse_visible;  // out (T, H) F32 or absent: log-sum-exp over all visible keys
  Tensor entropy;      // out (T, H) F32 or absent: entropy of the kept distribution, nats
  Tensor nan_rows;     // in-out (1) I32 or absent: the number of rows (t, h) that are NaN is added
  Tensor qkv;          // in  (T, H + 2 G, D), after RoPE
  Tensor doc_offsets;  // in  (n + 1) I32: row where each document begins; last is T
  int heads;           // H
  int kv_heads;        // G, divides H
  float scale;         // usually 1 / sqrt(D)
  int64_t max_document;  // upper bound of a document's length: cost and workspace
  AttentionPolicy policy;
};
void check(const AttentionForward& a);
Cost cost(const AttentionForward& a);
size_t scratch_bytes(const AttentionForward& a, int workers);
size_t cuda_scratch_bytes(const AttentionForward& a);
void attention_forward_cpu(const AttentionForward& a, Context& ctx);
void attention_forward_cuda(const AttentionForward& a, Context& ctx);
inline constexpr Op<AttentionForward> attention_forward{"attention_forward", &attention_forward_cpu,
                                                        PIVOT_CUDA_TWIN(attention_forward_cuda)};

/// The order in which terms of a gradient are added. Fixed: the same bits in every run. Any: where
/// that is faster, in the order in which blocks of a GPU finish (dense attention by cuDNN, whose
/// memory then grows with T instead of T^2); Top-k is Fixed always.
enum class GradientOrder : uint8_t { Fixed, Any };

struct AttentionBackward {
  Tensor dqkv;         // out (T, H + 2 G, D), all elements written
  Tensor dout;         // in (T, H, D)
  Tensor out;          // in (T, H, D)     from forward, as the four below
  Tensor lse;          // in (T, H) F32
  Tensor tau;          // in (T, H) F32
  Tensor jcut;         // in (T, H) I32
  Tensor qkv;          // in (T, H + 2 G, D)
  Tensor doc_offsets;  // in (n + 1) I32
  int heads;
  int kv_heads;
  float scale;
  int64_t max_document;
  AttentionPolicy policy;
  GradientOrder order = GradientOrder::Fixed;
};
void check(const AttentionBackward& a);
Cost cost(const AttentionBackward& a);
size_t scratch_bytes(const AttentionBackward& a, int workers);
size_t cuda_scratch_bytes(const AttentionBackward& a);
void attention_backward_cpu(const AttentionBackward& a, Context& ctx);
void attention_backward_cuda(const AttentionBackward& a, Context& ctx);
inline constexpr Op<AttentionBackward> attention_backward{
    "attention_backward", &attention_backward_cpu, PIVOT_CUDA_TWIN(attention_backward_cuda)};

}  // namespace pivot
