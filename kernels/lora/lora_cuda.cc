#include "kernels/lora/lora.h"
#include "kernels/matmul/products.h"

namespace pivot {

void lora_merge_cuda(const LoraMerge& a, Context& ctx) {
  cuda::gemm({.m = a.y.dim(0),
              .n = a.y.dim(1),
              .k = a.a.dim(0),
              .inputs = a.y.dtype,
              .outputs = a.y.dtype,
              .a = operand(a.b, Layout::Plain),
              .b = operand(a.a, Layout::Plain),
              .d = a.y.data,
              .d_stride = a.y.dim(1),
              .c = a.w.data,
              .alpha = a.scale},
             ctx);
}

void lora_backward_cuda(const LoraBackward& a, Context& ctx) {
  cuda::gemm({.m = a.da.dim(0),
              .n = a.da.dim(1),
              .k = a.dy.dim(0),
              .inputs = DType::F32,
              .outputs = DType::F32,
              .a = operand(a.b, Layout::Transposed),
              .b = operand(a.dy, Layout::Plain),
              .d = a.da.data,
              .d_stride = a.da.dim(1),
              .c = a.da.data,
              .alpha = a.scale},
             ctx);
  cuda::gemm({.m = a.db.dim(0),
              .n = a.db.dim(1),
              .k = a.dy.dim(1),
              .inputs = DType::F32,
              .outputs = DType::F32,
              .a = operand(a.dy, Layout::Plain),
              .b = operand(a.a, Layout::Transposed),
              .d = a.db.data,
              .d_stride = a.db.dim(1),
              .c = a.db.data,
              .alpha = a.scale},
             ctx);
}

}  // namespace pivot
