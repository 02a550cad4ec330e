// cast and attention_union: CUDA twins against the CPU's and against their definitions.
#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/attention/order.h"
#include "kernels/attention/score_bits.h"
#include "kernels/attention_union/attention_union.h"
#include "kernels/cast/cast.h"
#include "tests/kernels/attention_case.h"
#include "tests/support/cuda_context.h"

using namespace pivot;
using namespace pivot::test;

namespace {

std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), to_bfloat16);
  return out;
}

Tensor host(std::vector<int32_t>& v, Shape shape) {
  return view(v.data(), shape);
}

/// tau and jcut of a problem by the CPU's forward pass.
struct Sets {
  std::vector<float> tau;
  std::vector<int32_t> jcut;
};
Sets sets_of(const ref::AttentionProblem& p, const std::vector<float>& qkv) {
  const std::vector<float> dout(static_cast<size_t>(p.tokens() * p.heads * p.width), 1.0F);
  AttentionRun run = run_attention(p, qkv, dout);
  return {run.tau, run.jcut};
}

/// The definition: keys kept by any row of a tile, over the keys its last row sees.
template <class ScoreOf>
std::vector<float> united(const ref::AttentionProblem& p, const Sets& sets, ScoreOf score) {
  std::vector<float> share(
      static_cast<size_t>((p.tokens() + kUnionRows - 1) / kUnionRows * p.heads),
      std::numeric_limits<float>::quiet_NaN());
  for (size_t d = 0; d + 1 < p.doc_offsets.size(); ++d) {
    const int64_t begin = p.doc_offsets[d];
    for (int64_t first = begin; first + kUnionRows <= p.doc_offsets[d + 1]; first += kUnionRows) {
      for (int h = 0; h < p.heads; ++h) {
        int64_t count = 0;
        for (int64_t key = begin; key < first + kUnionRows; ++key) {
          bool any = false;
          for (int64_t row = std::max(first, key); row < first + kUnionRows; ++row) {
            const bool forced = key - begin < p.policy.sink || row - key < p.policy.recent;
            const float s = forced ? kForcedScore : score(row, h, key);
            const auto at = static_cast<size_t>(row * p.heads + h);
            any = any || is_kept(s, static_cast<int32_t>(key), sets.tau[at], sets.jcut[at]);
          }
          count += any ? 1 : 0;
        }
        share[static_cast<size_t>(first / kUnionRows * p.heads + h)] =
            static_cast<float>(count) / static_cast<float>(first + kUnionRows - begin);
      }
    }
  }
  return share;
}

int64_t differences(const std::vector<float>& a, const std::vector<float>& b) {
  int64_t count = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    count += static_cast<int64_t>(!(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))));
  }
  return count;
}

template <class T>
std::vector<float> run_union(const ref::AttentionProblem& p, const std::vector<T>& qkv,
                             const Sets& sets) {
  CudaTestContext ctx;
  const Shape all{p.tokens(), p.heads + 2 * p.kv_heads, p.width};
  const Shape rows{p.tokens(), p.heads};
  const CudaBuffer q(ctx, all, qkv), tau(ctx, rows, sets.tau), jcut(ctx, rows, sets.jcut);
  const CudaBuffer docs(ctx, {static_cast<int64_t>(p.doc_offsets.size())}, p.doc_offsets);
  const CudaBuffer share(ctx, DType::F32, {(p.tokens() + kUnionRows - 1) / kUnionRows, p.heads});
  run_twin(&attention_union_cuda, attention_union,
           AttentionUnion{.share = share,
                          .tau = tau,
                          .jcut = jcut,
                          .qkv = q,
                          .doc_offsets = docs,
                          .heads = p.heads,
                          .kv_heads = p.kv_heads,
                          .policy = p.policy},
           ctx);
  CHECK(share.intact());
  return share.template download<float>();
}

const std::vector<AttentionCase> kCases = {
    {{300}, 2, 1, 16, "topk:k=5"},
    {{100, 140, 128, 1, 20}, 2, 2, 16, "topk:3%,min=2"},  // tiles that begin inside a slot
    {{260}, 2, 1, 16, "topk:k=9,sink=2,recent=3"},
    {{130}, 1, 1, 16, "dense"},
    {{127}, 1, 1, 16, "topk:k=4"}};  // no full tile

}  // namespace

TEST_CASE("attention_union: both twins equal the definition, F32", "[sanitize]") {
  for (const AttentionCase& c : kCases) {
    INFO(c.text());
    const ref::AttentionProblem p = c.problem();
    std::vector<float> qkv = normal_values(qkv_count(p), 61);
    Sets sets = sets_of(p, qkv);
    const std::vector<float> want = united(p, sets, ref::scores_of(p, qkv));
    CHECK(differences(run_union(p, qkv, sets), want) == 0);
    TestContext cpu;
    std::vector<float> got(want.size());
    std::vector<int32_t> docs = p.doc_offsets;
    const Shape rows{p.tokens(), p.heads};
    attention_union(
        {.share = view(got.data(), {static_cast<int64_t>(got.size()) / p.heads, p.heads}),
         .tau = view(sets.tau.data(), rows),
         .jcut = host(sets.jcut, rows),
         .qkv = view(qkv.data(), {p.tokens(), p.heads + 2 * p.kv_heads, p.width}),
         .doc_offsets = host(docs, {static_cast<int64_t>(docs.size())}),
         .heads = p.heads,
         .kv_heads = p.kv_heads,
         .policy = p.policy},
        cpu);
    CHECK(differences(got, want) == 0);
  }
}

TEST_CASE("attention_union in BF16 takes the tensor cores' scores", "[sanitize]") {
  for (const AttentionCase& c : kCases) {
    INFO(c.text());
    const ref::AttentionProblem p = c.problem();
    const std::vector<BFloat16> qkv = rounded(normal_values(qkv_count(p), 62));
    const auto score = [&](int64_t t, int h, int64_t j) {
      return mma_dot(qkv.data() + p.query(t, h), qkv.data() + p.key(j, h),
                     static_cast<int>(p.width));
    };
    // Cuts between scores of each row: any cut will do, it need not keep k.
    Sets sets;
    for (int64_t t = 0; t < p.tokens(); ++t) {
      for (int h = 0; h < p.heads; ++h) {
        const int64_t begin = p.begin_of(t);
        const int64_t pick = begin + (t - begin) / 3;
        sets.tau.push_back(score(t, h, pick));
        sets.jcut.push_back(static_cast<int32_t>(pick));
      }
    }
    CHECK(differences(run_union(p, qkv, sets), united(p, sets, score)) == 0);
  }
}

TEST_CASE("cast rounds to the nearest, ties to even, on both devices", "[sanitize]") {
  for (const int64_t count : {0, 1, 7, 8, 9, 1000, 70001}) {
    std::vector<float> x = normal_values(count, 63);
    const float special[] = {std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity(),
                             1.00390625F,
                             1.01171875F,
                             3.4e38F,
                             -0.0F,
                             0x1p-149F};
    for (size_t i = 0; i < std::min<size_t>(x.size(), std::size(special)); ++i) x[i] = special[i];
    CudaTestContext ctx;
    const CudaBuffer in(ctx, {count}, x), out(ctx, DType::BF16, {count});
    run_twin(&cast_cuda, cast, Cast{.y = out, .x = in}, ctx);
    CHECK(out.intact());
    const auto got = out.download<BFloat16>();
    TestContext cpu;
    std::vector<BFloat16> on_cpu(x.size());
    cast({.y = view(on_cpu.data(), {count}), .x = view(x.data(), {count})}, cpu);
    int64_t wrong = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const BFloat16 want = to_bfloat16(x[i]);
      const bool nan = std::isnan(x[i]);
      wrong += static_cast<int64_t>(nan ? !std::isnan(to_float(got[i])) : got[i].bits != want.bits);
      wrong += static_cast<int64_t>(on_cpu[i].bits != want.bits);
    }
    CHECK(wrong == 0);
  }
}
