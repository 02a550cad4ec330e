#pragma once
/// The CUDA implementations of attention and who takes what.
///
///   Naive   a block a row, scores in memory: any width that is a multiple of 8, F32 (the CPU's
///           score bits) and BF16 (the tensor cores' score bits, computed in integers). Slow; what
///           the others are compared with.
///   Tiled   BF16, D = 64 or 128: tensor cores, tiles of 64 query rows, exact selection by
///           refinement of an interval of scores, recomputation in backward.
///   Cudnn   BF16, dense, D = 64 or 128, in builds with cuDNN.
/// Nothing falls back: path_of says which one runs, and the trainer prints it.

#include "kernels/attention/attention.h"

namespace pivot::attention {

enum class CudaPath { Naive, Tiled, Cudnn };
const char* to_string(CudaPath path);  // "naive", "tiled", "cudnn"

/// The path of a policy for tensors of this type and head width, in this build.
CudaPath path_of(const AttentionPolicy& policy, DType dtype, int64_t width);
/// The path of a call: that of its policy, except that a dense call of a shape that cuDNN is not
/// right for (cudnn_takes in cudnn.h: documents of very different lengths, too much memory) is
/// Tiled. Forward and backward may take different ones.
CudaPath path_of(const AttentionForward& a);
CudaPath path_of(const AttentionBackward& a);
/// True if this build has cuDNN.
bool with_cudnn();

// Each takes exactly its *_scratch bytes from ctx.scratch (sums of scratch_size()), also defined in
// builds without CUDA: memory is planned there too.

size_t naive_scratch(const AttentionForward& a);
size_t naive_scratch(const AttentionBackward& a);
void naive_forward(const AttentionForward& a, Context& ctx);
void naive_backward(const AttentionBackward& a, Context& ctx);

/// Forward of a dense policy fills lse_visible and entropy too, if they are present.
size_t tiled_scratch(const AttentionForward& a);
size_t tiled_scratch(const AttentionBackward& a);
void tiled_forward(const AttentionForward& a, Context& ctx);
void tiled_backward(const AttentionBackward& a, Context& ctx);

/// `out`, `lse`, `tau` (-inf) and `jcut` (the row itself); nothing else.
size_t cudnn_scratch(const AttentionForward& a);
size_t cudnn_scratch(const AttentionBackward& a);
void cudnn_forward(const AttentionForward& a, Context& ctx);
void cudnn_backward(const AttentionBackward& a, Context& ctx);

}  // namespace pivot::attention
