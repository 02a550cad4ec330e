// Memory and limits of the cuDNN path: in every build, because memory is planned in every build.
#include <algorithm>

#include "kernels/attention/cuda/cudnn.h"
#include "kernels/attention/cuda/paths.h"

namespace pivot::attention {
namespace {

// Counters and descriptors of documents: 17 KiB and 386 bytes a document at most.
constexpr size_t kFixedBytes = size_t{1} << 20;
constexpr size_t kDocumentBytes = 1024;
// cuDNN starts blocks for `longest` rows of every document; beyond this many times the rows that
// exist most of them find nothing to do, and the memory of backward is mostly unused.
constexpr int64_t kMaxPadding = 4;
// Gradients of all scores: above this the tiled kernel, which needs none, is not slower (estimated:
// writing and reading them at 2 TB/s takes as long as cuDNN's arithmetic from 4K rows on).
constexpr size_t kMaxScoreBytes = size_t{2} << 30;
// Offsets inside a document are 32-bit in places.
constexpr int64_t kMaxDocumentElements = int64_t{1} << 31;

template <class Args>
CudnnShape shape_of(const Args& a) {
  const int64_t longest = std::min(a.max_document, a.qkv.dim(0));
  return {.documents = a.doc_offsets.dim(0) - 1,
          .longest = (longest + kCudnnRows - 1) / kCudnnRows * kCudnnRows,
          .heads = a.heads,
          .kv_heads = a.kv_heads,
          .width = a.qkv.dim(2)};
}

template <class Args>
bool fits(const Args& a) {
  const int64_t tokens = a.qkv.dim(0);
  const int64_t width = a.qkv.dim(2);
  const int64_t longest = std::min(a.max_document, tokens);
  const int64_t documents = a.doc_offsets.dim(0) - 1;
  return a.policy.dense() && a.qkv.dtype == DType::BF16 && (width == 64 || width == 128) &&
         tokens > 0 && documents * longest <= kMaxPadding * tokens &&
         longest * a.qkv.dim(1) * width < kMaxDocumentElements;
}

size_t score_bytes(const CudnnShape& s) {
  return static_cast<size_t>(s.documents * s.heads * s.longest * s.longest) * 2;
}

size_t small_workspace(const CudnnShape& s) {
  return kFixedBytes + kDocumentBytes * static_cast<size_t>(s.documents);
}

}  // namespace

CudnnShape cudnn_shape(const AttentionForward& a) {
  return shape_of(a);
}
CudnnShape cudnn_shape(const AttentionBackward& a) {
  return shape_of(a);
}

bool cudnn_takes(const AttentionForward& a) {
  return fits(a);
}
bool cudnn_takes(const AttentionBackward& a) {
  return fits(a) && (a.order == GradientOrder::Any || score_bytes(shape_of(a)) <= kMaxScoreBytes);
}

size_t cudnn_forward_workspace(const CudnnShape& shape) {
  return small_workspace(shape);
}

size_t cudnn_backward_workspace(const CudnnShape& s, GradientOrder order) {
  const auto rows = static_cast<size_t>(s.documents * s.heads * s.longest);
  const auto width = static_cast<size_t>(s.width);
  const size_t delta = rows * 4;
  // dk and dv of every query head, in bf16, before they are added up.
  const size_t full_heads = s.heads == s.kv_heads ? 0 : 2 * rows * width * 2;
  const size_t scores_or_dq = order == GradientOrder::Fixed ? score_bytes(s) : rows * width * 4;
  return small_workspace(s) + delta + full_heads + scores_or_dq;
}

size_t cudnn_documents_scratch(int64_t documents) {
  return scratch_size(DType::I32, documents) + 3 * scratch_size(DType::I64, documents + 1);
}

size_t cudnn_scratch(const AttentionForward& a) {
  const CudnnShape shape = cudnn_shape(a);
  return cudnn_documents_scratch(shape.documents) +
         scratch_size(DType::U8, static_cast<int64_t>(cudnn_forward_workspace(shape)));
}

size_t cudnn_scratch(const AttentionBackward& a) {
  const CudnnShape shape = cudnn_shape(a);
  return cudnn_documents_scratch(shape.documents) +
         scratch_size(DType::U8, static_cast<int64_t>(cudnn_backward_workspace(shape, a.order)));
}

}  // namespace pivot::attention
