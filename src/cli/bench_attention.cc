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
  Problem(const AttentionBenchOptions& o, ThreadPool& pool)
      : o_(o),
        qkv_(random_floats(o.length * (o.heads + 2 * o.kv_heads) * o.head_dim, 0, pool)),
        dout_(random_floats(o.length * o.heads * o.head_dim, 1, pool)),
        dqkv_(qkv_.size()),
        out_(dout_.size()),
        lse_(static_cast<size_t>(o.length * o.heads)),
        tau_(lse_.size()),
        jcut_(lse_.size()),
        offsets_{0, static_cast<int32_t>(o.length)} {}

  void forward(const AttentionPolicy& policy, Context& ctx) {
    attention_forward({.out = view(out_.data(), heads_shape()),
                       .lse = view(lse_.data(), row_shape()),
                       .tau = view(tau_.data(), row_shape()),
                       .jcut = view(jcut_.data(), row_shape()),
                       .lse_visible = {},
                       .entropy = {},
                       .nan_rows = {},
                       .qkv = view(qkv_.data(), packed_shape()),
                       .doc_offsets = view(offsets_.data(), {2}),
                       .heads = o_.heads,
                       .kv_heads = o_.kv_heads,
                       .scale = scale(),
                       .max_document = o_.length,
                       .policy = policy},
                      ctx);
  }
  void backward(const AttentionPolicy& policy, Context& ctx) {
    attention_backward({.dqkv = view(dqkv_.data(), packed_shape()),
                        .dout = view(dout_.data(), heads_shape()),
                        .out = view(out_.data(), heads_shape()),
                        .lse = view(lse_.data(), row_shape()),
                        .tau = view(tau_.data(), row_shape()),
                        .jcut = view(jcut_.data(), row_shape()),
                        .qkv = view(qkv_.data(), packed_shape()),
                        .doc_offsets = view(offsets_.data(), {2}),
                        .heads = o_.heads,
                        .kv_heads = o_.kv_heads,
                        .scale = scale(),
                        .max_document = o_.length,
                        .policy = policy},
                       ctx);
  }

 private:
  Shape packed_shape() const {
    return {o_.length, o_.heads + 2 * int64_t{o_.kv_heads}, o_.head_dim};
  }
  Shape heads_shape() const { return {o_.length, o_.heads, o_.head_dim}; }
  Shape row_shape() const { return {o_.length, o_.heads}; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(o_.head_dim)); }

  const AttentionBenchOptions& o_;
  std::vector<float> qkv_, dout_, dqkv_, out_, lse_, tau_;
  std::vector<int32_t> jcut_, offsets_;
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
  Problem problem(options, bench.pool());
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
