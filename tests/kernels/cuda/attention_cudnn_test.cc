// Dense attention by cuDNN against the reference; its agreement with the tiled kernel is in
// attention_gpu_test.cc.
#include "kernels/attention/cuda/cudnn.h"
#include "tests/kernels/cuda/attention_agreement.h"
#include "tests/kernels/cuda/attention_case_cuda.h"

namespace pivot::test {
namespace {

AttentionInputs random_inputs(const AttentionCase& c, uint64_t seed = 11) {
  return AttentionInputs(c.problem(), DType::BF16, seed);
}

AttentionBackward in_any_order(AttentionBackward a) {
  a.order = GradientOrder::Any;
  return a;
}

AttentionPath fastest_path() {
  using namespace attention;
  return {"cudnn, any order", &cudnn_scratch,
          [](const AttentionBackward& a) { return cudnn_scratch(in_any_order(a)); }, &cudnn_forward,
          [](const AttentionBackward& a, Context& ctx) { cudnn_backward(in_any_order(a), ctx); }};
}

void check_dense_sets(const AttentionInputs& in, const AttentionRun& run) {
  int64_t wrong = 0;
  for (int64_t row = 0; row < in.rows(); ++row) {
    const auto i = static_cast<size_t>(row);
    wrong += static_cast<int64_t>(run.tau[i] != -std::numeric_limits<float>::infinity() ||
                                  run.jcut[i] != row / in.problem.heads);
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("cuDNN: documents of any length, also none") {
  for (const int64_t width : {64, 128}) {
    for (const int kv_heads : {4, 1}) {
      for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{1},
                                                  {2, 1},
                                                  {127, 129},
                                                  {0, 61, 0, 0, 130, 3, 0},
                                                  {333, 17, 250}}) {
        const AttentionCase c{lengths, 4, kv_heads, width, "dense"};
        INFO(c.text());
        const AttentionInputs in = random_inputs(c);
        CudaTestContext cuda;
        const AttentionRun run = run_path(cudnn_path(), in, cuda, Diagnostics::Off);
        check_dense_sets(in, run);
        check_attention(in, run, kCudnnPrecision, 40);
        const AttentionRun fastest =
            run_path(cudnn_path(), in, cuda, Diagnostics::Off, fastest_path());
        check_device_gradients(in, fastest, kCudnnPrecision, 40);
      }
    }
  }
}

TEST_CASE("cuDNN: the same bits in every run") {
  const AttentionCase c{{1500, 900, 1648}, 8, 2, 128, "dense"};
  const AttentionInputs in = random_inputs(c, 5);
  CudaTestContext cuda;
  const AttentionRun first = run_path(cudnn_path(), in, cuda, Diagnostics::Off);
  for (int i = 0; i < 5; ++i) {
    CHECK(run_path(cudnn_path(), in, cuda, Diagnostics::Off).same(first));
  }
}

TEST_CASE("cuDNN: packed documents equal separate ones") {
  const AttentionCase packed{{300, 1, 411}, 4, 1, 64, "dense"};
  const AttentionInputs in = random_inputs(packed, 7);
  CudaTestContext cuda;
  const AttentionRun all = run_path(cudnn_path(), in, cuda, Diagnostics::Off);
  const ref::AttentionProblem& p = in.problem;
  for (size_t i = 0; i < packed.lengths.size(); ++i) {
    const int64_t begin = p.doc_offsets[i];
    const int64_t end = p.doc_offsets[i + 1];
    const auto rows = [&](const std::vector<float>& values, int64_t width) {
      return std::vector<float>(values.begin() + begin * width, values.begin() + end * width);
    };
    const int64_t token = (p.heads + 2 * p.kv_heads) * p.width;
    AttentionCase alone = packed;
    alone.lengths = {packed.lengths[i]};
    const AttentionInputs one(alone.problem(), DType::BF16, rows(in.qkv, token),
                              rows(in.dout, p.heads * p.width));
    const AttentionRun run = run_path(cudnn_path(), one, cuda, Diagnostics::Off);
    CHECK(same_bits(run.out, rows(all.out, p.heads * p.width)));
    CHECK(same_bits(run.lse, rows(all.lse, p.heads)));
    CHECK(same_bits(run.dqkv, rows(all.dqkv, token)));
  }
}

TEST_CASE("cuDNN: a recorded pass serves other documents; new sizes are refused") {
  const AttentionCase c{{200, 56}, 4, 2, 64, "dense"};
  const AttentionCase other{{100, 156}, 4, 2, 64, "dense"};
  const AttentionInputs in = random_inputs(c, 3);
  const AttentionInputs moved(other.problem(), DType::BF16, in.qkv, in.dout);
  CudaTestContext cuda(size_t{1} << 27);
  Context& ctx = cuda;
  const DeviceAttention device(in, ctx, Diagnostics::Off);
  const DeviceAttention expected(moved, ctx, Diagnostics::Off);
  expected.forward(cudnn_path());
  expected.backward(cudnn_path());

  const AttentionForward forward = device.forward_args();
  const AttentionBackward backward = device.backward_args();
  const auto pass = [&] {
    attention::cudnn_forward(forward, ctx);
    attention::cudnn_backward(backward, ctx);
  };
  pass();  // builds cuDNN's graphs
  cuda::Graph graph;
  graph.record(ctx.device.index, pass);
  copy_from_host(forward.doc_offsets, moved.problem.doc_offsets.data(), ctx);
  graph.launch();
  cuda::synchronize(ctx.device.index);
  CHECK(device.results().same(expected.results()));

  const AttentionCase larger{{1000, 24}, 4, 2, 64, "dense"};
  const AttentionInputs large_in = random_inputs(larger, 3);
  const DeviceAttention large(large_in, ctx, Diagnostics::Off);
  cuda::Graph refused;
  CHECK_THROWS_WITH(refused.record(ctx.device.index,
                                   [&] { attention::cudnn_forward(large.forward_args(), ctx); }),
                    ContainsSubstring("first run a step outside of a graph"));
}

TEST_CASE("cuDNN: what is not finite makes its row NaN") {
  const AttentionCase c{{150, 80}, 2, 1, 64, "dense"};
  AttentionInputs in = random_inputs(c);
  CudaTestContext cuda;
  const AttentionRun clean = run_path(cudnn_path(), in, cuda, Diagnostics::Off);
  const ref::AttentionProblem& p = in.problem;
  const int64_t bad = 70;
  in.qkv[static_cast<size_t>(p.query(bad, 1))] = std::numeric_limits<float>::quiet_NaN();
  const AttentionRun run = run_forward(cudnn_path(), in, cuda, Diagnostics::Off);
  int64_t wrong = 0;
  for (int64_t row = 0; row < in.rows(); ++row) {
    const bool nan = row == bad * p.heads + 1;
    wrong += static_cast<int64_t>(std::isnan(run.lse[static_cast<size_t>(row)]) != nan);
    for (int64_t d = row * p.width; d < (row + 1) * p.width; ++d) {
      const float x = run.out[static_cast<size_t>(d)];
      wrong += static_cast<int64_t>(nan ? !std::isnan(x) : x != clean.out[static_cast<size_t>(d)]);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("cuDNN takes documents of similar length whose scores fit into memory") {
  const auto takes = [](int64_t tokens, int64_t documents, int64_t longest) {
    const Tensor qkv{nullptr, DType::BF16, {tokens, 48, 128}};
    AttentionBackward a{};
    a.qkv = qkv;
    a.doc_offsets = {nullptr, DType::I32, {documents + 1}};
    a.heads = 32;
    a.kv_heads = 8;
    a.max_document = longest;
    return std::pair{attention::cudnn_takes(a), attention::cudnn_takes(in_any_order(a))};
  };
  CHECK(takes(8192, 4, 2048) == std::pair{true, true});
  CHECK(takes(8192, 100, 2048) == std::pair{false, false});    // mostly padding
  CHECK(takes(32768, 1, 32768) == std::pair{false, true});     // 64 GiB of gradients of scores
  CHECK(takes(524288, 1, 524288) == std::pair{false, false});  // 2^31 elements in a document
  CHECK(takes(0, 0, 1) == std::pair{false, false});
}

}  // namespace pivot::test
