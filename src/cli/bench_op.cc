#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "kernels/adamw/adamw_ref.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "kernels/embedding/embedding_ref.h"
#include "kernels/matmul/matmul_ref.h"
#include "kernels/qk_norm/qk_norm_ref.h"
#include "kernels/reduce/reduce_ref.h"
#include "kernels/rmsnorm/rmsnorm_ref.h"
#include "kernels/rope/rope_ref.h"
#include "kernels/swiglu/swiglu_ref.h"
#include "src/base/check.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"

namespace pivot {
namespace {

/// The references describe every op's tensors; here only their shapes, values and call() are used.
using Ops = std::tuple<ref::RmsNormForwardRef, ref::RmsNormBackwardRef, ref::EmbeddingForwardRef,
                       ref::EmbeddingBackwardRef, ref::QkNormForwardRef, ref::QkNormBackwardRef,
                       ref::RopeRef<RopeDirection::Forward>, ref::RopeRef<RopeDirection::Backward>,
                       ref::MatmulForwardRef, ref::MatmulBackwardRef, ref::SwigluForwardRef,
                       ref::SwigluBackwardRef, ref::LinearCrossEntropyRef, ref::AdamWRef,
                       ref::SumSquaresRef>;

struct OpOptions : BenchOptions {
  ref::Dims dims = {.n = 4096,
                    .c = 256,
                    .h = 4,
                    .g = 4,
                    .d = 64,
                    .f = 688,
                    .v = 4096,
                    .i = 256,
                    .o = 768,
                    .p = 4 << 20};

  template <class V>
  void visit(V&& v) {
    v("n", dims.n, "rows (tokens)");
    v("c", dims.c, "model width");
    v("heads", dims.h, "query heads");
    v("kv_heads", dims.g, "key/value heads");
    v("d", dims.d, "channels of a head");
    v("f", dims.f, "width of the SwiGLU layer");
    v("v", dims.v, "vocabulary");
    v("i", dims.i, "matmul: inputs");
    v("o", dims.o, "matmul: outputs");
    v("p", dims.p, "adamw, sum_squares: parameters");
    BenchOptions::visit(v);
  }
};

template <class T>
Tensor upload_as(const std::vector<double>& values, const Shape& shape, Bench& bench) {
  std::vector<T> typed(values.size());
  for (size_t i = 0; i < values.size(); ++i) typed[i] = static_cast<T>(values[i]);
  return bench.upload(typed, shape);
}

Tensor upload_operand(const ref::Operand& o, const std::vector<double>& values, Bench& bench) {
  if (o.dtype == DType::I32) return upload_as<int32_t>(values, o.shape, bench);
  if (o.dtype == DType::I64) return upload_as<int64_t>(values, o.shape, bench);
  if (o.dtype == DType::F32) return upload_as<float>(values, o.shape, bench);
  std::vector<BFloat16> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    rounded[i] = to_bfloat16(static_cast<float>(values[i]));
  }
  return bench.upload(rounded, o.shape);
}

template <class Ref>
void bench_one(const ref::Dims& dims, Bench& bench) {
  const ref::OpCase c{"bench", dims, ref::Values::Normal, bench.dtype()};
  const std::vector<ref::Operand> operands = Ref::operands(c);
  ref::ValueMap<double> values = ref::random_values(c, operands);
  Ref::adjust(c, values);
  ref::TensorMap tensors;
  for (const ref::Operand& o : operands) {
    tensors[o.name] = upload_operand(o, values.at(o.name), bench);
  }
  BenchRow& row = bench.time(Ref::kName, [&](Context& ctx) { Ref::call(c, tensors, ctx); });
  row.more = {{"of bandwidth", row.cost.bytes / row.seconds / bench.peak_bytes()}};
}

bool is_called(const std::string& op, const std::string& name) {
  return op == name || op == name + "_forward" || op == name + "_backward";
}

/// Names without _forward and _backward, each once.
template <class... Refs>
std::vector<std::string> names_of(std::tuple<Refs...>*) {
  std::vector<std::string> names;
  for (std::string name : {std::string(Refs::kName)...}) {
    name = name.substr(0, std::min(name.find("_forward"), name.find("_backward")));
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

/// Times the ops called `name`, `name`_forward or `name`_backward; false if there is none.
template <class... Refs>
bool bench_named(std::tuple<Refs...>*, const std::string& name, const ref::Dims& dims,
                 Bench& bench) {
  bool found = false;
  const auto consider = [&]<class Ref>(Ref*) {
    if (!is_called(Ref::kName, name)) return;
    found = true;
    bench_one<Ref>(dims, bench);
  };
  (consider(static_cast<Refs*>(nullptr)), ...);
  return found;
}

void check_dims(const ref::Dims& d) {
  for (const int64_t x : {d.n, d.c, d.h, d.g, d.d, d.f, d.v, d.i, d.o, d.p}) {
    if (x < 1) throw_user("pivot bench op: every dimension must be at least 1, one is {}", x);
  }
  if (d.d % 2 != 0) throw_user("--d {}: the channels of a head must be even", d.d);
}

}  // namespace

int run_bench_op(const std::vector<std::string>& args) {
  OpOptions options;
  std::vector<std::string> names;
  Ops* const all = nullptr;
  const std::vector<std::string> known = names_of(all);
  CommandLine line("bench op", "Time basic ops");
  line.options(options);
  line.positional("NAME", names, "ops; all if none is named", CommandLine::Optional);
  line.footer(fmt::format("ops: {}", fmt::join(known, " ")));
  if (!line.parse(args)) return 0;
  check_dims(options.dims);
  if (names.empty()) names = known;
  Bench bench("bench op", options);
  for (const std::string& name : names) {
    if (!bench_named(all, name, options.dims, bench)) {
      throw_user("pivot bench op: no op '{}'; did you mean '{}'?", name, nearest_name(name, known));
    }
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
