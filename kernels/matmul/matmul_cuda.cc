#include "kernels/matmul/column_sums.h"
#include "kernels/matmul/products.h"

namespace pivot {

void matmul_forward_cuda(const MatmulForward& a, Context& ctx) {
  cuda::gemm(output_product(a), ctx);
}

void matmul_backward_cuda(const MatmulBackward& a, Context& ctx) {
  if (a.dy.dim(0) == 0) return;
  if (a.dx.present()) cuda::gemm(input_gradient_product(a), ctx);
  if (a.dw.present()) cuda::gemm(weight_gradient_product(a), ctx);
  if (a.dbias.present()) cuda::add_column_sums(a.dbias, a.dy, ctx);
}

}  // namespace pivot
