#include <charconv>
#include <cstdio>

#include "kernels/matmul/products.h"
#include "src/base/check.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"

namespace pivot {
namespace {

struct GemmOptions : BenchOptions {
  std::vector<std::string> shapes = {"1024x256x768",   "4096x256x1376", "4096x688x256",
                                     "8192x1024x4096", "1x1024x4096",   "16x1024x4096"};

  bool measure = true;

  template <class V>
  void visit(V&& v) {
    v("shapes", shapes, "products, each rows x inputs x outputs");
    v("measure", measure, "on a GPU, measure which of cuBLASLt's algorithms is the fastest");
    BenchOptions::visit(v);
  }
};

struct GemmShape {
  int64_t rows = 0, inputs = 0, outputs = 0;
};

GemmShape parse_shape(const std::string& text) {
  GemmShape shape;
  const char* at = text.data();
  const char* end = at + text.size();
  int64_t* const fields[] = {&shape.rows, &shape.inputs, &shape.outputs};
  for (int64_t* field : fields) {
    const auto [rest, error] = std::from_chars(at, end, *field);
    const bool last = field == &shape.outputs;
    if (error != std::errc{} || *field < 1 || (last ? rest != end : rest == end || *rest != 'x')) {
      throw_user("--shapes: '{}' is not ROWSxINPUTSxOUTPUTS, for example 1024x256x768", text);
    }
    at = last ? rest : rest + 1;
  }
  return shape;
}

/// The tensors of one layer, with the products both as the ops and as plain calls of cuBLASLt.
class Problem {
 public:
  Problem(const GemmShape& s, Bench& bench)
      : x_(bench.random({s.rows, s.inputs}, 0)),
        w_(bench.random({s.outputs, s.inputs}, 1)),
        dy_(bench.random({s.rows, s.outputs}, 2)),
        y_(bench.tensor(bench.dtype(), dy_.shape)),
        dx_(bench.tensor(bench.dtype(), x_.shape)),
        dw_(bench.tensor(DType::F32, w_.shape)) {}

  void forward(Context& ctx) const { matmul_forward(forward_args(), ctx); }
  void backward(Context& ctx) const { matmul_backward(backward_args(), ctx); }

  void forward_by_library(Context& ctx) const {
    if (ctx.device.is_plan()) return forward(ctx);
    cuda::gemm_reference(output_product(forward_args()), ctx);
  }
  void backward_by_library(Context& ctx) const {
    if (ctx.device.is_plan()) return backward(ctx);
    cuda::gemm_reference(input_gradient_product(backward_args()), ctx);
    cuda::gemm_reference(weight_gradient_product(backward_args()), ctx);
  }

 private:
  MatmulForward forward_args() const {
    return {.y = y_, .x = x_, .w = w_, .bias = {}, .residual = {}};
  }
  MatmulBackward backward_args() const {
    return {.dx = dx_, .dw = dw_, .dbias = {}, .dy = dy_, .x = x_, .w = w_};
  }

  Tensor x_, w_, dy_, y_, dx_, dw_;
};

using Pass = void (Problem::*)(Context&) const;

/// Times the op and, on a GPU, the library, whose row says how many times as fast the op is.
void time_pass(Bench& bench, const std::string& name, const Problem& problem, Pass op,
               Pass library) {
  const double seconds = bench.time(name, [&](Context& ctx) { (problem.*op)(ctx); }).seconds;
  if (!bench.device().is_cuda()) return;
  BenchRow& row = bench.time(name + ", cuBLASLt", [&](Context& ctx) { (problem.*library)(ctx); });
  row.more.emplace_back("op_speedup", row.seconds / seconds);
}

}  // namespace

int run_bench_gemm(const std::vector<std::string>& args) {
  GemmOptions options;
  CommandLine line("bench gemm", "Time y = x w^T and its gradients");
  line.options(options);
  if (!line.parse(args)) return 0;
  std::vector<GemmShape> shapes;
  for (const std::string& text : options.shapes) shapes.push_back(parse_shape(text));

  Bench bench("bench gemm", options);
  if (bench.device().is_cuda()) {
    cuda::state<cuda::Blas>(bench.device().index).set_measuring(options.measure);
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Problem problem(shapes[i], bench);
    time_pass(bench, options.shapes[i] + " forward", problem, &Problem::forward,
              &Problem::forward_by_library);
    time_pass(bench, options.shapes[i] + " backward", problem, &Problem::backward,
              &Problem::backward_by_library);
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
