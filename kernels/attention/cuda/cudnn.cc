// Builds with cuDNN; see cudnn.h.
#include <unordered_map>
#include <vector>

#include "kernels/attention/cuda/cudnn_graph.h"
#include "kernels/attention/cuda/paths.h"
#include "src/core/cuda.h"

namespace pivot::attention {
namespace {

namespace fe = cudnn_frontend;
using Memory = std::unordered_map<int64_t, void*>;

enum class Pass { Forward, Backward };

struct GraphKey {
  Pass pass;
  CudnnShape shape;
  float scale;
  GradientOrder order;  // backward

  friend bool operator==(const GraphKey&, const GraphKey&) = default;
};

// Built graphs of one device.
class CudnnGraphs {
 public:
  explicit CudnnGraphs(int device) : device_(device) {
    check(cudnnCreate(&handle_), "start");
    check(cudnnSetStream(handle_, static_cast<cudaStream_t>(cuda::stream(device))),
          "take the device's stream");
  }

  void run(const GraphKey& key, Memory& memory, const Tensor& workspace) {
    fe::graph::Graph& graph = find(key);
    const int64_t bytes = graph.get_workspace_size();
    PIVOT_CHECK(bytes <= workspace.count(),
                "attention by cuDNN: {} {} documents of {} rows, {} / {} heads of {}: cuDNN wants "
                "{} bytes of workspace, {} were planned",
                key.pass == Pass::Forward ? "forward," : "backward,", key.shape.documents,
                key.shape.longest, key.shape.heads, key.shape.kv_heads, key.shape.width, bytes,
                workspace.count());
    check(graph.execute(handle_, memory, workspace.data), key);
  }

 private:
  struct Built {
    GraphKey key;
    std::shared_ptr<fe::graph::Graph> graph;
  };

  // A run has a handful: passes, and the few bounds that batches share.
  fe::graph::Graph& find(const GraphKey& key) {
    for (const Built& built : built_) {
      if (built.key == key) return *built.graph;
    }
    if (cuda::recording(device_)) {
      throw_error(
          "attention by cuDNN: first run a step outside of a graph: one with {} documents "
          "of up to {} rows is new",
          key.shape.documents, key.shape.longest);
    }
    CudnnGraphBuilder builder(key.shape, key.scale);
    auto graph = key.pass == Pass::Forward ? builder.forward() : builder.backward(key.order);
    check(graph->build(handle_, {fe::HeurMode_t::A}), key);
    built_.push_back({key, std::move(graph)});
    return *built_.back().graph;
  }

  static void check(cudnnStatus_t status, const char* what) {
    if (status != CUDNN_STATUS_SUCCESS) {
      throw_error("cuDNN {} could not {}: {}", cudnnGetVersion(), what,
                  cudnnGetErrorString(status));
    }
  }
  static void check(fe::error_t error, const GraphKey& key) {
    if (error.is_good()) return;
    throw_error(
        "attention by cuDNN {} ({}, {} documents of up to {} rows, {} / {} heads of {}): "
        "{}; it needs cuDNN 9.6 and compute capability 9.0 or newer",
        cudnnGetVersion(), key.pass == Pass::Forward ? "forward" : "backward", key.shape.documents,
        key.shape.longest, key.shape.heads, key.shape.kv_heads, key.shape.width,
        error.get_message());
  }

  int device_;
  cudnnHandle_t handle_ = nullptr;  // lives as long as the process, as the device's context does
  std::vector<Built> built_;
};

void set(Memory& memory, CudnnTensor name, void* data) {
  memory[static_cast<int64_t>(name)] = data;
}

// Q, K and V are sections of every row.
void set_sections(Memory& memory, const Tensor& qkv, const CudnnShape& shape, CudnnTensor q,
                  CudnnTensor k, CudnnTensor v) {
  auto* first = qkv.as<BFloat16>();
  set(memory, q, first);
  set(memory, k, first + shape.heads * shape.width);
  set(memory, v, first + (shape.heads + shape.kv_heads) * shape.width);
}

template <class Args>
Memory memory_of(const Args& a, const CudnnShape& shape, const CudnnDocuments& documents) {
  Memory memory;
  set_sections(memory, a.qkv, shape, CudnnTensor::Q, CudnnTensor::K, CudnnTensor::V);
  set(memory, CudnnTensor::Out, a.out.data);
  set(memory, CudnnTensor::Lse, a.lse.data);
  set(memory, CudnnTensor::RowsQ, documents.rows.data);
  set(memory, CudnnTensor::RowsKv, documents.rows.data);
  set(memory, CudnnTensor::QkvOffsets, documents.qkv_offsets.data);
  set(memory, CudnnTensor::OutOffsets, documents.out_offsets.data);
  set(memory, CudnnTensor::LseOffsets, documents.lse_offsets.data);
  return memory;
}

template <class Args>
void expect_supported(const Args& a) {
  const int64_t width = a.qkv.dim(2);
  PIVOT_CHECK(a.policy.dense() && a.qkv.dtype == DType::BF16 && (width == 64 || width == 128),
              "attention by cuDNN: policy {}, {}, D = {}", to_string(a.policy),
              dtype_name(a.qkv.dtype), width);
}

Tensor take_workspace(size_t bytes, Context& ctx) {
  return ctx.scratch.tensor(DType::U8, {static_cast<int64_t>(bytes)});
}

}  // namespace

bool with_cudnn() {
  return true;
}

void cudnn_forward(const AttentionForward& a, Context& ctx) {
  expect_supported(a);
  if (a.qkv.dim(0) == 0) return;
  const CudnnShape shape = cudnn_shape(a);
  const Arena::Scope scope = ctx.scratch.scope();
  const CudnnDocuments documents = cudnn_documents(a.doc_offsets, shape, ctx);
  const Tensor workspace = take_workspace(cudnn_forward_workspace(shape), ctx);
  Memory memory = memory_of(a, shape, documents);
  cuda::state<CudnnGraphs>(ctx.device.index)
      .run({Pass::Forward, shape, a.scale, GradientOrder::Fixed}, memory, workspace);
  finish_cudnn_rows(a, ctx);
}

void cudnn_backward(const AttentionBackward& a, Context& ctx) {
  expect_supported(a);
  if (a.qkv.dim(0) == 0) return;
  const CudnnShape shape = cudnn_shape(a);
  const Arena::Scope scope = ctx.scratch.scope();
  const CudnnDocuments documents = cudnn_documents(a.doc_offsets, shape, ctx);
  const Tensor workspace = take_workspace(cudnn_backward_workspace(shape, a.order), ctx);
  Memory memory = memory_of(a, shape, documents);
  set(memory, CudnnTensor::Dout, a.dout.data);
  set_sections(memory, a.dqkv, shape, CudnnTensor::Dq, CudnnTensor::Dk, CudnnTensor::Dv);
  cuda::state<CudnnGraphs>(ctx.device.index)
      .run({Pass::Backward, shape, a.scale, a.order}, memory, workspace);
}

}  // namespace pivot::attention
