#include <cmath>
#include <numeric>

#include "kernels/decode_attention/decode_attention.h"
#include "src/base/check.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"
#include "src/eval/options.h"

namespace pivot {
namespace {

struct DecodeBenchOptions : BenchOptions {
  int heads = 8;
  int kv_heads = 8;
  int head_dim = 64;
  int64_t context = 32768;
  int batch = 1;
  std::vector<std::string> attn = {"dense", "topk:1%"};

  template <class V>
  void visit(V&& v) {
    v("heads", heads, "query heads");
    v("kv_heads", kv_heads, "key/value heads; divides heads");
    v("head_dim", head_dim, "channels of a head");
    v("context", context, "keys of each sequence");
    v("batch", batch, "sequences");
    v("attn", attn, "attention specs side by side; repeat it");
    BenchOptions::visit(v);
  }
};

void check_options(const DecodeBenchOptions& o) {
  if (o.heads < 1 || o.kv_heads < 1 || o.heads % o.kv_heads != 0) {
    throw_user("--heads {} must be a multiple of --kv-heads {}", o.heads, o.kv_heads);
  }
  if (o.head_dim < 2 || o.context < 1 || o.batch < 1) {
    throw_user("--head-dim {}, --context {} and --batch {}: too small", o.head_dim, o.context,
               o.batch);
  }
}

/// One token per sequence over a cache of random keys and values.
class Problem {
 public:
  Problem(const DecodeBenchOptions& o, Bench& bench)
      : o_(o),
        columns_((o.context + kPageTokens - 1) / kPageTokens),
        pages_(columns_ * o.batch),
        qkv_(bench.random({o.batch, o.heads + 2 * int64_t{o.kv_heads}, o.head_dim}, 0)),
        keys_(bench.random({o.kv_heads, pages_, o.head_dim * kPageTokens}, 1)),
        values_(bench.random({o.kv_heads, pages_, kPageTokens, o.head_dim}, 2)),
        out_(bench.tensor(bench.dtype(), {o.batch, o.heads, o.head_dim})),
        lse_(bench.tensor(DType::F32, {o.batch, o.heads})),
        tau_(bench.tensor(DType::F32, lse_.shape)),
        jcut_(bench.tensor(DType::I32, lse_.shape)) {
    std::vector<int32_t> table(static_cast<size_t>(pages_));
    std::iota(table.begin(), table.end(), 0);
    table_ = bench.upload(table, {o.batch, columns_});
    lengths_ = bench.upload(
        std::vector<int32_t>(static_cast<size_t>(o.batch), static_cast<int32_t>(o.context)),
        {o.batch});
  }

  void run(const AttentionPolicy& policy, Context& ctx) {
    decode_attention({.out = out_,
                      .lse = lse_,
                      .tau = tau_,
                      .jcut = jcut_,
                      .lse_visible = {},
                      .nan_rows = {},
                      .qkv = qkv_,
                      .k_pages = keys_,
                      .v_pages = values_,
                      .page_table = table_,
                      .lengths = lengths_,
                      .heads = o_.heads,
                      .kv_heads = o_.kv_heads,
                      .scale = 1.0F / std::sqrt(static_cast<float>(o_.head_dim)),
                      .max_length = o_.context,
                      .policy = policy},
                     ctx);
  }

 private:
  const DecodeBenchOptions& o_;
  int64_t columns_, pages_;
  Tensor qkv_, keys_, values_, out_, lse_, tau_, jcut_, table_, lengths_;
};

}  // namespace

int run_bench_decode(const std::vector<std::string>& args) {
  DecodeBenchOptions options;
  CommandLine line("bench decode", "Time attention of one new token over a KV cache");
  line.options(options);
  line.footer(
      "'of read' is the share of the measured read bandwidth at which the op's bytes pass.");
  if (!line.parse(args)) return 0;
  check_options(options);
  const std::vector<std::string> specs = eval::join_specs(options.attn);
  std::vector<AttentionPolicy> policies;
  for (const std::string& spec : specs) policies.push_back(parse_policy(spec));

  Bench bench("bench decode", options);
  Problem problem(options, bench);
  double first = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    BenchRow& row = bench.time(specs[i], [&](Context& ctx) { problem.run(policies[i], ctx); });
    if (i == 0) first = row.seconds;
    row.more = {{"of read", row.cost.bytes / row.seconds / bench.peak_bytes()},
                {"x of " + specs[0], row.seconds / first}};
  }
  bench.finish();
  return 0;
}

}  // namespace pivot
