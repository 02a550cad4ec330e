#pragma once
/// The graphs of cuDNN's attention, described and not built yet. Only cudnn.cc includes this.

#include <memory>

#include <cudnn_frontend.h>

#include "kernels/attention/cuda/cudnn.h"

namespace pivot::attention {

/// The tensors of a graph, by which their memory is given when it runs. Inputs and outputs of
/// attention.h; `Rows*` and `*Offsets` are those of CudnnDocuments.
enum class CudnnTensor : int64_t {
  Q = 1,
  K,
  V,
  Out,
  Lse,
  RowsQ,
  RowsKv,
  QkvOffsets,
  OutOffsets,
  LseOffsets,
  Dout,
  Dq,
  Dk,
  Dv
};

class CudnnGraphBuilder {
 public:
  CudnnGraphBuilder(const CudnnShape& shape, float scale);

  std::shared_ptr<cudnn_frontend::graph::Graph> forward();
  std::shared_ptr<cudnn_frontend::graph::Graph> backward(GradientOrder order);

 private:
  using Attributes = std::shared_ptr<cudnn_frontend::graph::Tensor_attributes>;

  Attributes index(CudnnTensor name, int64_t count, cudnn_frontend::DataType_t type);
  /// Heads of a row that holds `row_heads` of `width` elements, found through `offsets`.
  void describe(cudnn_frontend::graph::Tensor_attributes& a, CudnnTensor name, int64_t heads,
                int64_t row_heads, int64_t width, const Attributes& offsets) const;
  Attributes input(CudnnTensor name, int64_t heads, int64_t row_heads, int64_t width,
                   const Attributes& offsets);
  template <class Operation>
  Operation operation();

  CudnnShape shape_;
  float scale_;
  int64_t qkv_heads_;
  std::shared_ptr<cudnn_frontend::graph::Graph> graph_;
  Attributes rows_q_, rows_kv_, qkv_offsets_, out_offsets_, lse_offsets_;
  Attributes q_, k_, v_;
};

}  // namespace pivot::attention
