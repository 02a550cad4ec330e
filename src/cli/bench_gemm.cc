#include <charconv>
#include <cstdio>

#include "kernels/matmul/matmul.h"
#include "src/base/check.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"

namespace pivot {
namespace {

struct GemmOptions : BenchOptions {
  std::vector<std::string> shapes = {"1024x256x768",   "4096x256x1376", "4096x688x256",
                                     "8192x1024x4096", "1x1024x4096",   "16x1024x4096"};

  template <class V>
  void visit(V&& v) {
    v("shapes", shapes, "products, each rows x inputs x outputs");
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

}  // namespace

int run_bench_gemm(const std::vector<std::string>& args) {
  GemmOptions options;
  CommandLine line("bench gemm", "Time y = x w^T and its gradients");
  line.options(options);
  if (!line.parse(args)) return 0;
  std::vector<GemmShape> shapes;
  for (const std::string& text : options.shapes) shapes.push_back(parse_shape(text));

  Bench bench("bench gemm", options);
  for (size_t i = 0; i < shapes.size(); ++i) {
    const auto [n, in, out] = shapes[i];
    std::vector<float> x = random_floats(n * in, 0, bench.pool());
    std::vector<float> w = random_floats(out * in, 1, bench.pool());
    std::vector<float> dy = random_floats(n * out, 2, bench.pool());
    std::vector<float> y(dy.size()), dx(x.size()), dw(w.size());
    const Tensor tx = view(x.data(), {n, in});
    const Tensor tw = view(w.data(), {out, in});
    bench.time(options.shapes[i] + " forward", [&](Context& ctx) {
      matmul_forward({.y = view(y.data(), {n, out}), .x = tx, .w = tw, .bias = {}, .residual = {}},
                     ctx);
    });
    bench.time(options.shapes[i] + " backward", [&](Context& ctx) {
      matmul_backward({.dx = view(dx.data(), {n, in}),
                       .dw = view(dw.data(), {out, in}),
                       .dbias = {},
                       .dy = view(dy.data(), {n, out}),
                       .x = tx,
                       .w = tw},
                      ctx);
    });
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
