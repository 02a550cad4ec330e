// What cuDNN reads before its kernels and leaves open after them.
#include "kernels/attention/cuda/cudnn.h"
#include "kernels/cuda/launch.cuh"

namespace pivot::attention {
namespace {

constexpr int kThreads = 256;

struct DocumentOffsets {
  const int32_t* doc_offsets;  // in (documents + 1)
  int32_t* rows;               // out (documents)
  int64_t* qkv;                // out (documents + 1), as the two below
  int64_t* out;
  int64_t* lse;
  int64_t documents;
  int64_t qkv_row;  // elements of a row of the tensors
  int64_t out_row;
  int64_t lse_row;
};

__global__ void __launch_bounds__(kThreads) document_offsets_kernel(DocumentOffsets a) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i > a.documents) return;
  const int64_t row = a.doc_offsets[i];
  a.qkv[i] = row * a.qkv_row;
  a.out[i] = row * a.out_row;
  a.lse[i] = row * a.lse_row;
  if (i < a.documents) a.rows[i] = a.doc_offsets[i + 1] - a.doc_offsets[i];
}

struct FinishedRows {
  BFloat16* out;  // in-out (T, H, D)
  float* lse;     // in-out (T, H)
  float* tau;     // out (T, H)
  int32_t* jcut;  // out (T, H)
  int64_t rows;   // T * H
  int heads;
  int width;
};

// A thread a row (t, h).
__global__ void __launch_bounds__(kThreads) finish_rows_kernel(FinishedRows a) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= a.rows) return;
  a.tau[row] = -INFINITY;
  a.jcut[row] = static_cast<int32_t>(row / a.heads);
  const float lse = a.lse[row];
  if (isfinite(lse)) return;
  a.lse[row] = NAN;
  for (int d = 0; d < a.width; ++d) a.out[row * a.width + d] = BFloat16{0x7FC0};  // NaN
}

}  // namespace

CudnnDocuments cudnn_documents(const Tensor& doc_offsets, const CudnnShape& shape, Context& ctx) {
  const int64_t n = shape.documents;
  const CudnnDocuments d{.rows = ctx.scratch.tensor(DType::I32, {n}),
                         .qkv_offsets = ctx.scratch.tensor(DType::I64, {n + 1}),
                         .out_offsets = ctx.scratch.tensor(DType::I64, {n + 1}),
                         .lse_offsets = ctx.scratch.tensor(DType::I64, {n + 1})};
  const DocumentOffsets args{.doc_offsets = doc_offsets.as<int32_t>(),
                             .rows = d.rows.as<int32_t>(),
                             .qkv = d.qkv_offsets.as<int64_t>(),
                             .out = d.out_offsets.as<int64_t>(),
                             .lse = d.lse_offsets.as<int64_t>(),
                             .documents = n,
                             .qkv_row = (shape.heads + 2 * shape.kv_heads) * shape.width,
                             .out_row = shape.heads * shape.width,
                             .lse_row = shape.heads};
  cuda::launch(&document_offsets_kernel, dim3(cuda::grid_size(cuda::ceil_div(n + 1, kThreads))),
               dim3(kThreads), 0, cuda::stream(ctx), args);
  return d;
}

void finish_cudnn_rows(const AttentionForward& a, Context& ctx) {
  const FinishedRows args{.out = a.out.as<BFloat16>(),
                          .lse = a.lse.as<float>(),
                          .tau = a.tau.as<float>(),
                          .jcut = a.jcut.as<int32_t>(),
                          .rows = a.lse.count(),
                          .heads = a.heads,
                          .width = static_cast<int>(a.qkv.dim(2))};
  if (args.rows == 0) return;
  cuda::launch(&finish_rows_kernel, dim3(cuda::grid_size(cuda::ceil_div(args.rows, kThreads))),
               dim3(kThreads), 0, cuda::stream(ctx), args);
}

}  // namespace pivot::attention
