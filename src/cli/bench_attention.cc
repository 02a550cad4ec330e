#include <cmath>

#include "kernels/attention/attention.h"
#include "src/base/check.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"
#include "src/eval/options.h"

namespace pivot {
namespace {

struct AttentionBenchOptions : BenchOptions {
  int heads = 8;
  int kv_heads = 8;
  int head_dim = 64;
  int64_t length = 8192;
  std::vector<std::string> attn = {"dense", "topk:1%"};

  template <class V>
  void visit(V&& v) {
    v("heads", heads, "query heads");
    v("kv_heads", kv_heads, "key/value heads; divides heads");
    v("head_dim", head_dim, "channels of a head");
    v("length", length, "tokens of the one document");
    v("attn", attn, "attention specs side by side; repeat it");
    BenchOptions::visit(v);
  }
};

void check_options(const AttentionBenchOptions& o) {
  if (o.heads < 1 || o.kv_heads < 1 || o.heads % o.kv_heads != 0) {
    throw_user("--heads {} must be a multiple of --kv-heads {}", o.heads, o.kv_heads);
  }
  if (o.head_dim < 2 || o.length < 1) {
    throw_user("--head-dim {} and --length {}: too small", o.head_dim, o.length);
  }
}

/// Tensors of one forward and backward pass.
class Problem {
 public:
  Problem(const AttentionBenchOptions& o, Bench& bench)
      : o_(o),
        qkv_(bench.random({o.length, o.heads + 2 * int64_t{o.kv_heads}, o.head_dim}, 0)),
        dout_(bench.random({o.length, o.heads, o.head_dim}, 1)),
        dqkv_(bench.tensor(bench.dtype(), qkv_.shape)),
        out_(bench.tensor(bench.dtype(), dout_.shape)),
        lse_(bench.tensor(DType::F32, {o.length, o.heads})),
        tau_(bench.tensor(DType::F32, lse_.shape)),
        jcut_(bench.tensor(DType::I32, lse_.shape)),
        offsets_(bench.upload(std::vector<int32_t>{0, static_cast<int32_t>(o.length)}, {2})),
        order_(bench.gradient_order()) {}

  void forward(const AttentionPolicy& policy, Context& ctx) {
    attention_forward({.out = out_,
                       .lse = lse_,
                       .tau = tau_,
                       .jcut = jcut_,
                       .lse_visible = {},
                       .entropy = {},
                       .nan_rows = {},
                       .qkv = qkv_,
                       .doc_offsets = offsets_,
                       .heads = o_.heads,
                       .kv_heads = o_.kv_heads,
                       .scale = scale(),
                       .max_document = o_.length,
                       .policy = policy},
                      ctx);
  }
  void backward(const AttentionPolicy& policy, Context& ctx) {
    attention_backward({.dqkv = dqkv_,
                        .dout = dout_,
                        .out = out_,
                        .lse = lse_,
                        .tau = tau_,
                        .jcut = jcut_,
                        .qkv = qkv_,
                        .doc_offsets = offsets_,
                        .heads = o_.heads,
                        .kv_heads = o_.kv_heads,
                        .scale = scale(),
                        .max_document = o_.length,
                        .policy = policy,
                        .order = order_},
                       ctx);
  }

 private:
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(o_.head_dim)); }

  const AttentionBenchOptions& o_;
  Tensor qkv_, dout_, dqkv_, out_, lse_, tau_, jcut_, offsets_;
  GradientOrder order_;
};

}  // namespace

int run_bench_attention(const std::vector<std::string>& args) {
  AttentionBenchOptions options;
  CommandLine line("bench attention", "Time attention of one document, forward and backward");
  line.options(options);
  if (!line.parse(args)) return 0;
  check_options(options);
  const std::vector<std::string> specs = eval::join_specs(options.attn);
  std::vector<AttentionPolicy> policies;
  for (const std::string& spec : specs) policies.push_back(parse_policy(spec));

  Bench bench("bench attention", options);
  Problem problem(options, bench);
  double first = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const AttentionPolicy& policy = policies[i];
    const auto forward = [&](Context& ctx) { problem.forward(policy, ctx); };
    const auto backward = [&](Context& ctx) { problem.backward(policy, ctx); };
    const auto both = [&](Context& ctx) {
      forward(ctx);
      backward(ctx);
    };
    bench.time(specs[i] + " forward", forward);
    bench.time(specs[i] + " backward", backward);
    BenchRow& row = bench.time(specs[i] + " forward+backward", both);
    if (i == 0) first = row.seconds;
    row.more = {{"us/token", row.seconds * 1e6 / static_cast<double>(options.length)},
                {"x of " + specs[0], row.seconds / first}};
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
