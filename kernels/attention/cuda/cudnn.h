#pragma once
/// Dense attention by cuDNN's fused kernels: what paths.h does not say about it.
///
/// Documents are the batch: every document is a sequence of at most `longest` rows, found through
/// offsets that are computed on the device, so that a graph of cuDNN (and a recorded step) fits all
/// batches with as many documents. Where scores are finite the results are those of
/// docs/semantics.md. A value or gradient that is not finite may reach rows of its document that do
/// not see it: cuDNN multiplies masked probabilities, which are 0, with all rows of a tile.
///
/// With GradientOrder::Fixed cuDNN 9.19 on Hopper keeps the gradients of all scores in memory, 2
/// bytes for each of documents * H * longest^2; with Any it adds up dq in the order in which blocks
/// finish.

#include "kernels/attention/attention.h"

namespace pivot::attention {

/// What a graph of cuDNN depends on, besides `scale`.
struct CudnnShape {
  int64_t documents;
  int64_t longest;  // bound of a document's rows, a multiple of kCudnnRows
  int64_t heads;
  int64_t kv_heads;
  int64_t width;

  friend bool operator==(const CudnnShape&, const CudnnShape&) = default;
};
/// Bounds are rounded up: graphs take 0.1 s to build, and a document of 1 row is refused in
/// backward.
inline constexpr int64_t kCudnnRows = 128;
CudnnShape cudnn_shape(const AttentionForward& a);
CudnnShape cudnn_shape(const AttentionBackward& a);

/// Whether cuDNN is the right path for this call (in a build that has it, on compute capability
/// 9.0 or newer): dense, BF16, D = 64 or 128, documents of similar length, and for backward little
/// enough memory. Forward and backward may differ: they exchange the same tensors.
bool cudnn_takes(const AttentionForward& a);
bool cudnn_takes(const AttentionBackward& a);

/// Bytes that cuDNN may ask for. From the sizes that cuDNN 9.19 reports for Hopper, which these
/// formulas exceed by less than 2 MiB (November 2026, 173 shapes).
size_t cudnn_forward_workspace(const CudnnShape& shape);
size_t cudnn_backward_workspace(const CudnnShape& shape, GradientOrder order);

/// Where cuDNN finds the documents, in elements of each tensor: (n + 1) I64, and their rows, (n)
/// I32.
struct CudnnDocuments {
  Tensor rows;
  Tensor qkv_offsets;
  Tensor out_offsets;
  Tensor lse_offsets;
};
/// Takes the tensors from ctx.scratch and fills them from doc_offsets (n + 1) I32.
CudnnDocuments cudnn_documents(const Tensor& doc_offsets, const CudnnShape& shape, Context& ctx);
size_t cudnn_documents_scratch(int64_t documents);

/// What cuDNN leaves open of a forward pass: tau and jcut; rows whose lse is not finite become NaN.
void finish_cudnn_rows(const AttentionForward& a, Context& ctx);

}  // namespace pivot::attention
