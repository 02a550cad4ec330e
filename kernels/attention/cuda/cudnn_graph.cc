#include "kernels/attention/cuda/cudnn_graph.h"

namespace pivot::attention {

namespace fe = cudnn_frontend;

CudnnGraphBuilder::CudnnGraphBuilder(const CudnnShape& shape, float scale)
    : shape_(shape),
      scale_(scale),
      qkv_heads_(shape.heads + 2 * shape.kv_heads),
      graph_(std::make_shared<fe::graph::Graph>()) {
  graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const int64_t n = shape.documents;
  rows_q_ = index(CudnnTensor::RowsQ, n, fe::DataType_t::INT32);
  rows_kv_ = index(CudnnTensor::RowsKv, n, fe::DataType_t::INT32);
  qkv_offsets_ = index(CudnnTensor::QkvOffsets, n + 1, fe::DataType_t::INT64);
  out_offsets_ = index(CudnnTensor::OutOffsets, n + 1, fe::DataType_t::INT64);
  lse_offsets_ = index(CudnnTensor::LseOffsets, n + 1, fe::DataType_t::INT64);
  q_ = input(CudnnTensor::Q, shape.heads, qkv_heads_, shape.width, qkv_offsets_);
  k_ = input(CudnnTensor::K, shape.kv_heads, qkv_heads_, shape.width, qkv_offsets_);
  v_ = input(CudnnTensor::V, shape.kv_heads, qkv_heads_, shape.width, qkv_offsets_);
}

CudnnGraphBuilder::Attributes CudnnGraphBuilder::index(CudnnTensor name, int64_t count,
                                                       fe::DataType_t type) {
  return graph_->tensor(fe::graph::Tensor_attributes()
                            .set_uid(static_cast<int64_t>(name))
                            .set_dim({count, 1, 1, 1})
                            .set_stride({1, 1, 1, 1})
                            .set_data_type(type));
}

void CudnnGraphBuilder::describe(fe::graph::Tensor_attributes& a, CudnnTensor name, int64_t heads,
                                 int64_t row_heads, int64_t width,
                                 const Attributes& offsets) const {
  const int64_t row = row_heads * width;
  a.set_uid(static_cast<int64_t>(name))
      .set_dim({shape_.documents, heads, shape_.longest, width})
      .set_stride({shape_.longest * row, width, row, 1})
      .set_ragged_offset(offsets);
}

CudnnGraphBuilder::Attributes CudnnGraphBuilder::input(CudnnTensor name, int64_t heads,
                                                       int64_t row_heads, int64_t width,
                                                       const Attributes& offsets) {
  fe::graph::Tensor_attributes a;
  describe(a, name, heads, row_heads, width, offsets);
  a.set_data_type(name == CudnnTensor::Lse ? fe::DataType_t::FLOAT : fe::DataType_t::BFLOAT16);
  return graph_->tensor(a);
}

// Query and key i of a document are the same row, so the causal diagonal starts at the top left.
template <class Operation>
Operation CudnnGraphBuilder::operation() {
  Operation o;
  o.set_attn_scale(scale_).set_causal_mask(true).set_padding_mask(true);
  o.set_seq_len_q(rows_q_).set_seq_len_kv(rows_kv_);
  return o;
}

std::shared_ptr<fe::graph::Graph> CudnnGraphBuilder::forward() {
  auto attributes = operation<fe::graph::SDPA_attributes>();
  attributes.set_generate_stats(true);
  const auto [out, lse] = graph_->sdpa(q_, k_, v_, attributes);
  describe(*out, CudnnTensor::Out, shape_.heads, shape_.heads, shape_.width, out_offsets_);
  describe(*lse, CudnnTensor::Lse, shape_.heads, shape_.heads, 1, lse_offsets_);
  out->set_output(true);
  lse->set_output(true).set_data_type(fe::DataType_t::FLOAT);
  return graph_;
}

std::shared_ptr<fe::graph::Graph> CudnnGraphBuilder::backward(GradientOrder order) {
  const int64_t heads = shape_.heads;
  const Attributes out = input(CudnnTensor::Out, heads, heads, shape_.width, out_offsets_);
  const Attributes dout = input(CudnnTensor::Dout, heads, heads, shape_.width, out_offsets_);
  const Attributes lse = input(CudnnTensor::Lse, heads, heads, 1, lse_offsets_);
  auto attributes = operation<fe::graph::SDPA_backward_attributes>();
  attributes.set_deterministic_algorithm(order == GradientOrder::Fixed);
  const auto [dq, dk, dv] = graph_->sdpa_backward(q_, k_, v_, out, dout, lse, attributes);
  describe(*dq, CudnnTensor::Dq, heads, qkv_heads_, shape_.width, qkv_offsets_);
  describe(*dk, CudnnTensor::Dk, shape_.kv_heads, qkv_heads_, shape_.width, qkv_offsets_);
  describe(*dv, CudnnTensor::Dv, shape_.kv_heads, qkv_heads_, shape_.width, qkv_offsets_);
  for (const Attributes& gradient : {dq, dk, dv}) gradient->set_output(true);
  return graph_;
}

}  // namespace pivot::attention
