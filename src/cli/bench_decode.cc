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
  Problem(const DecodeBenchOptions& o, ThreadPool& pool)
      : o_(o), columns_((o.context + kPageTokens - 1) / kPageTokens), pages_(columns_ * o.batch) {
    const int64_t cache = o.kv_heads * pages_ * kPageTokens * o.head_dim;
    qkv_ = random_floats(o.batch * packed_heads() * o.head_dim, 0, pool);
    keys_ = random_floats(cache, 1, pool);
    values_ = random_floats(cache, 2, pool);
    out_.resize(static_cast<size_t>(o.batch * o.heads * o.head_dim));
    lse_.resize(static_cast<size_t>(o.batch * o.heads));
    tau_.resize(lse_.size());
    jcut_.resize(lse_.size());
    table_.resize(static_cast<size_t>(pages_));
    std::iota(table_.begin(), table_.end(), 0);
    lengths_.assign(static_cast<size_t>(o.batch), static_cast<int32_t>(o.context));
  }

  void run(const AttentionPolicy& policy, Context& ctx) {
    decode_attention(
        {.out = view(out_.data(), {o_.batch, o_.heads, o_.head_dim}),
         .lse = view(lse_.data(), {o_.batch, o_.heads}),
         .tau = view(tau_.data(), {o_.batch, o_.heads}),
         .jcut = view(jcut_.data(), {o_.batch, o_.heads}),
         .lse_visible = {},
         .nan_rows = {},
         .qkv = view(qkv_.data(), {o_.batch, packed_heads(), o_.head_dim}),
         .k_pages = view(keys_.data(), {o_.kv_heads, pages_, o_.head_dim * kPageTokens}),
         .v_pages = view(values_.data(), {o_.kv_heads, pages_, kPageTokens, o_.head_dim}),
         .page_table = view(table_.data(), {o_.batch, columns_}),
         .lengths = view(lengths_.data(), {o_.batch}),
         .heads = o_.heads,
         .kv_heads = o_.kv_heads,
         .scale = 1.0F / std::sqrt(static_cast<float>(o_.head_dim)),
         .max_length = o_.context,
         .policy = policy},
        ctx);
  }

 private:
  int64_t packed_heads() const { return o_.heads + 2 * int64_t{o_.kv_heads}; }

  const DecodeBenchOptions& o_;
  int64_t columns_, pages_;
  std::vector<float> qkv_, keys_, values_, out_, lse_, tau_;
  std::vector<int32_t> jcut_, table_, lengths_;
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
  Problem problem(options, bench.pool());
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
