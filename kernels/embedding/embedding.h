#pragma once
/// Token embedding: y[n] = table[token[n]]. A token outside [0, V) is an error on the CPU; a kernel
/// cannot raise one, and gives a row of NaN forward and adds nothing backward.

#include "kernels/op.h"

namespace pivot {

struct EmbeddingForward {
  Tensor y;       // out (N, C)
  Tensor table;   // in  (V, C)
  Tensor tokens;  // in  (N) I32, each in [0, V)
};
void check(const EmbeddingForward& a);
Cost cost(const EmbeddingForward& a);
void embedding_forward_cpu(const EmbeddingForward& a, Context& ctx);
void embedding_forward_cuda(const EmbeddingForward& a, Context& ctx);
inline constexpr Op<EmbeddingForward> embedding_forward{"embedding_forward", &embedding_forward_cpu,
                                                        PIVOT_CUDA_TWIN(embedding_forward_cuda)};

/// dtable[token[n]] += dy[n], deterministic. The CPU twin adds in the order of n. The CUDA twin
/// adds a token's rows in that order in chunks of 64, each from zero, and then the chunks in their
/// order to dtable.
struct EmbeddingBackward {
  Tensor dtable;  // in-out (V, C) F32, accumulated
  Tensor dy;      // in (N, C)
  Tensor tokens;  // in (N) I32
};
void check(const EmbeddingBackward& a);
Cost cost(const EmbeddingBackward& a);
size_t cuda_scratch_bytes(const EmbeddingBackward& a);
void embedding_backward_cpu(const EmbeddingBackward& a, Context& ctx);
void embedding_backward_cuda(const EmbeddingBackward& a, Context& ctx);
inline constexpr Op<EmbeddingBackward> embedding_backward{
    "embedding_backward", &embedding_backward_cpu, PIVOT_CUDA_TWIN(embedding_backward_cuda)};

}  // namespace pivot
