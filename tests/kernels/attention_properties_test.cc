// What must hold between runs of attention: no tolerance anywhere.

#include "tests/kernels/attention_case.h"

using namespace pivot;
using namespace pivot::test;

namespace {

struct Inputs {
  ref::AttentionProblem problem;
  std::vector<float> qkv;
  std::vector<float> dout;

  explicit Inputs(const AttentionCase& c, uint64_t seed = 61)
      : problem(c.problem()),
        qkv(normal_values(qkv_count(problem), seed)),
        dout(normal_values(problem.tokens() * problem.heads * problem.width, seed + 1)) {}

  AttentionRun run(int threads = 2) const { return run_attention(problem, qkv, dout, threads); }
};

std::vector<float> rows_of(const std::vector<float>& all, int64_t begin, int64_t end,
                           int64_t stride) {
  return {all.begin() + begin * stride, all.begin() + end * stride};
}

}  // namespace

TEST_CASE("k >= n equals dense bit for bit") {
  for (const char* policy : {"topk:100%", "topk:k=100000", "topk:50%,min=900",
                             "topk:k=900,group=max", "topk:100%,sink=3,recent=2,group=sum"}) {
    for (const int32_t length : {37, 300, 800}) {
      INFO(policy << " " << length);
      AttentionCase c{{length, 20}, 4, 2, 16, "dense"};
      const AttentionRun dense = Inputs(c).run();
      c.policy = policy;
      CHECK(Inputs(c).run().same(dense));
    }
  }
}

TEST_CASE("the number of threads does not change a bit") {
  for (const char* policy : {"dense", "topk:3%", "topk:k=20,group=max,sink=2", "topk:70%"}) {
    INFO(policy);
    const Inputs in({{900, 300, 5}, 2, 1, 64, policy});
    const AttentionRun one = in.run(1);
    CHECK(in.run(2).same(one));
    CHECK(in.run(3).same(one));
    CHECK(in.run(5).same(one));
  }
}

TEST_CASE("packed documents equal separate ones bit for bit") {
  for (const char* policy : {"dense", "topk:4%", "topk:k=9,recent=3", "topk:k=30,group=sum"}) {
    INFO(policy);
    const AttentionCase packed{{45, 1, 650, 33, 128, 530}, 4, 2, 24, policy};
    const Inputs in(packed);
    const AttentionRun all = in.run();
    const ref::AttentionProblem& p = in.problem;
    for (size_t i = 0; i + 1 < p.doc_offsets.size(); ++i) {
      AttentionCase alone = packed;
      alone.lengths = {packed.lengths[i]};
      const int64_t begin = p.doc_offsets[i];
      const int64_t end = p.doc_offsets[i + 1];
      const int64_t stride = (p.heads + 2 * p.kv_heads) * p.width;
      Inputs single(alone);
      single.qkv = rows_of(in.qkv, begin, end, stride);
      single.dout = rows_of(in.dout, begin, end, p.heads * p.width);
      const AttentionRun one = single.run();
      CHECK(one.out == rows_of(all.out, begin, end, p.heads * p.width));
      CHECK(one.dqkv == rows_of(all.dqkv, begin, end, stride));
      CHECK(one.lse == rows_of(all.lse, begin, end, p.heads));
      CHECK(one.lse_visible == rows_of(all.lse_visible, begin, end, p.heads));
      CHECK(one.tau == rows_of(all.tau, begin, end, p.heads));
    }
  }
}

TEST_CASE("permuting heads permutes results") {
  const Inputs in({{400}, 2, 2, 16, "topk:k=10"});
  Inputs swapped = in;
  const ref::AttentionProblem& p = in.problem;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (const int head : {0, 2, 4}) {
      std::swap_ranges(swapped.qkv.begin() + p.query(t, head),
                       swapped.qkv.begin() + p.query(t, head + 1),
                       swapped.qkv.begin() + p.query(t, head + 1));
    }
    const auto first = swapped.dout.begin() + t * 2 * p.width;
    std::swap_ranges(first, first + p.width, first + p.width);
  }
  const AttentionRun a = in.run();
  const AttentionRun b = swapped.run();
  for (int64_t t = 0; t < p.tokens(); ++t) {
    const auto x = a.out.begin() + t * 2 * p.width;
    const auto y = b.out.begin() + t * 2 * p.width;
    CHECK(std::equal(x, x + p.width, y + p.width));
    CHECK(a.tau[t * 2] == b.tau[t * 2 + 1]);
    const auto dx = a.dqkv.begin() + p.query(t, 2);
    const auto dy = b.dqkv.begin() + p.query(t, 3);
    CHECK(std::equal(dx, dx + p.width, dy));
  }
}

TEST_CASE("doubling the queries keeps the sets") {
  Inputs in({{500}, 2, 1, 32, "topk:k=13"});
  const AttentionRun once = in.run();
  for (int64_t t = 0; t < in.problem.tokens(); ++t) {
    for (int64_t i = 0; i < 2 * in.problem.width; ++i) in.qkv[in.problem.query(t, 0) + i] *= 2;
  }
  const AttentionRun twice = in.run();
  CHECK(once.jcut == twice.jcut);
  for (size_t i = 0; i < once.tau.size(); ++i) CHECK(twice.tau[i] == 2 * once.tau[i]);
}

TEST_CASE("the value of a key that is not kept changes nothing") {
  // Its score is far below every tau; its value may even be NaN.
  for (const char* policy : {"topk:k=20", "topk:60%"}) {
    INFO(policy);
    Inputs in({{700}, 1, 1, 16, policy});
    const ref::AttentionProblem& p = in.problem;
    const int64_t dropped = 3;
    for (int64_t t = 0; t < p.tokens(); ++t) {
      in.qkv[p.query(t, 0)] = 3;
      in.qkv[p.key(t, 0)] = t == dropped ? -300.0F : 1.0F;
    }
    const AttentionRun before = in.run();
    for (int64_t d = 0; d < p.width; ++d) {
      in.qkv[p.value(dropped, 0) + d] = std::numeric_limits<float>::quiet_NaN();
    }
    const AttentionRun after = in.run();
    // Rows that keep all their keys see it: 20 at first, and of 60 % of n those with n <= 27.
    const int64_t first = 28 * p.width;
    CHECK(std::equal(before.out.begin() + first, before.out.end(), after.out.begin() + first));
    // A block of many kept pairs goes by matrix products unless a number in it is not finite: other
    // sums of the same terms.
    double worst = 0;
    for (int64_t t = 28; t < p.tokens(); ++t) {
      for (int64_t i = p.query(t, 0); i < p.query(t, 0) + p.width; ++i) {
        worst = std::max<double>(worst, std::abs(before.dqkv[i] - after.dqkv[i]));
        if (std::isnan(after.dqkv[i])) worst = 1;
      }
    }
    CHECK(worst <= 1e-5);
  }
}

TEST_CASE("a future value that is not finite does not leak") {
  for (const char* policy : {"dense", "topk:k=20"}) {
    Inputs in({{200}, 1, 1, 16, policy});
    const AttentionRun before = in.run();
    const ref::AttentionProblem& p = in.problem;
    in.qkv[p.value(150, 0)] = std::numeric_limits<float>::infinity();
    const AttentionRun after = in.run();
    const auto end = before.out.begin() + 150 * p.width;
    CHECK(std::equal(before.out.begin(), end, after.out.begin()));
  }
}

TEST_CASE("a NaN score makes its row NaN, is counted, and touches no other row") {
  for (const char* policy : {"dense", "topk:k=5", "topk:k=5,sink=2", "topk:k=5,group=max"}) {
    INFO(policy);
    Inputs in({{90, 60}, 2, 1, 16, policy});
    const AttentionRun clean = in.run();
    const ref::AttentionProblem& p = in.problem;
    const int64_t bad = 70;
    in.qkv[p.query(bad, 1)] = std::numeric_limits<float>::quiet_NaN();
    const AttentionRun run = in.run();
    const bool shared = p.policy.group != SelectionGroup::Head;
    CHECK(run.nan_rows == (shared ? 2 : 1));
    for (int64_t t = 0; t < p.tokens(); ++t) {
      for (int h = 0; h < 2; ++h) {
        const int64_t row = t * 2 + h;
        const bool nan = t == bad && (h == 1 || shared);
        CHECK(std::isnan(run.lse[row]) == nan);
        CHECK(std::isnan(run.out[row * p.width]) == nan);
        if (!nan) CHECK(run.out[row * p.width] == clean.out[row * p.width]);
      }
    }
    // The loss depends on the row through every visible key: nothing there is silent.
    CHECK(std::isnan(run.dqkv[p.query(bad, 1)]));
    CHECK(std::isnan(run.dqkv[p.key(0, 0)]));
    CHECK(std::isfinite(run.dqkv[p.key(100, 0)]));
  }
}

TEST_CASE("scores of infinity: +inf kept makes the row NaN, -inf weighs nothing") {
  for (const char* policy : {"dense", "topk:k=3"}) {
    INFO(policy);
    Inputs in({{40}, 1, 1, 8, policy});
    const ref::AttentionProblem& p = in.problem;
    for (int64_t t = 0; t < 40; ++t) in.qkv[p.query(t, 0)] = 1e30F;
    in.qkv[p.key(10, 0)] = -1e30F;
    in.qkv[p.key(30, 0)] = 1e30F;
    for (int64_t t = 0; t < 40; ++t) {
      if (t != 10 && t != 30) in.qkv[p.key(t, 0)] = 1e-30F;
    }
    const AttentionRun run = in.run();
    for (int64_t t = 0; t < 40; ++t) CHECK(std::isnan(run.out[t * 8]) == (t >= 30));
    CHECK(run.nan_rows == 10);
  }
}

TEST_CASE("no tokens and empty documents") {
  const AttentionRun none = Inputs({{}, 2, 1, 8, "topk:k=2"}).run();
  CHECK(none.out.empty());
  const AttentionCase with_empty{{0, 30, 0, 0, 12, 0}, 2, 1, 8, "topk:k=2"};
  const AttentionCase without{{30, 12}, 2, 1, 8, "topk:k=2"};
  CHECK(Inputs(with_empty).run().same(Inputs(without).run()));
}

TEST_CASE("diagnostics do not change results, and dense keeps all mass") {
  const Inputs in({{600}, 2, 1, 16, "topk:2%"});
  const AttentionRun on = in.run();
  const AttentionRun off = run_attention(in.problem, in.qkv, in.dout, 2, Diagnostics::Off);
  CHECK(on.out == off.out);
  CHECK(on.dqkv == off.dqkv);
  for (size_t i = 0; i < on.lse.size(); ++i) CHECK(on.lse[i] <= on.lse_visible[i] + 1e-5F);
  const AttentionRun dense = Inputs({{600}, 2, 1, 16, "dense"}).run();
  CHECK(dense.lse == dense.lse_visible);
}

namespace {

// Shapes without memory.
AttentionForward forward_args(int64_t tokens, int heads, int kv_heads, int64_t width,
                              const char* policy) {
  const Shape rows{tokens, heads};
  return {.out = {nullptr, DType::F32, {tokens, heads, width}},
          .lse = {nullptr, DType::F32, rows},
          .tau = {nullptr, DType::F32, rows},
          .jcut = {nullptr, DType::I32, rows},
          .lse_visible = {},
          .entropy = {},
          .nan_rows = {},
          .qkv = {nullptr, DType::F32, {tokens, heads + 2 * kv_heads, width}},
          .doc_offsets = {nullptr, DType::I32, {2}},
          .heads = heads,
          .kv_heads = kv_heads,
          .scale = 0.125F,
          .max_document = tokens,
          .policy = parse_policy(policy)};
}

AttentionBackward backward_args(const AttentionForward& f) {
  return {.dqkv = f.qkv,
          .dout = f.out,
          .out = f.out,
          .lse = f.lse,
          .tau = f.tau,
          .jcut = f.jcut,
          .qkv = f.qkv,
          .doc_offsets = f.doc_offsets,
          .heads = f.heads,
          .kv_heads = f.kv_heads,
          .scale = f.scale,
          .max_document = f.max_document,
          .policy = f.policy};
}

}  // namespace

TEST_CASE("memory grows with T, not with its square") {
  // A call that takes more than it declares throws, so the declaration is what counts.
  for (const char* policy : {"dense", "topk:1%", "topk:50%"}) {
    INFO(policy);
    const auto bytes = [&](int64_t tokens) {
      const AttentionForward forward = forward_args(tokens, 8, 1, 64, policy);
      const AttentionBackward backward = backward_args(forward);
      return static_cast<double>(std::max(scratch_bytes(forward, 2), scratch_bytes(backward, 2)));
    };
    const double growth = bytes(1 << 18) - bytes(1 << 17);
    CHECK(growth <= 2.2 * (bytes(1 << 17) - bytes(1 << 16)));
    CHECK(bytes(1 << 17) < 8e3 * (1 << 17));
  }
}

TEST_CASE("wrong arguments are named") {
  AttentionForward a = forward_args(8, 2, 1, 16, "dense");
  CHECK_NOTHROW(check(a));
  CHECK_NOTHROW(check(backward_args(a)));
  a.heads = 3;
  CHECK_THROWS_WITH(check(a), ContainsSubstring("qkv"));
  a = forward_args(8, 3, 2, 16, "dense");
  CHECK_THROWS_WITH(check(a), ContainsSubstring("3 query heads do not divide among 2"));
  CHECK_THROWS_WITH(check(forward_args(8, 2, 1, 20, "dense")), ContainsSubstring("multiple of 8"));
  a = forward_args(8, 2, 1, 16, "dense");
  a.scale = -1;
  CHECK_THROWS_WITH(check(a), ContainsSubstring("scale"));
  AttentionBackward b = backward_args(forward_args(8, 2, 1, 16, "dense"));
  b.dout.shape = {8, 1, 16};
  CHECK_THROWS_WITH(check(b), ContainsSubstring("dout"));
}

TEST_CASE("the cost of Top-k is one pass of scores and the kept pairs") {
  const AttentionForward dense = forward_args(4096, 4, 4, 64, "dense");
  const AttentionForward topk = forward_args(4096, 4, 4, 64, "topk:k=64");
  const double pairs = 4 * 4096.0 * 4097 / 2;
  const double kept = 4 * (64.0 * 65 / 2 + (4096 - 64) * 64.0);
  CHECK(cost(dense).flops == Approx(4 * 64 * pairs));
  CHECK(cost(topk).flops == Approx(2 * 64 * (pairs + kept)).epsilon(1e-3));
  CHECK(cost(backward_args(dense)).flops == Approx(10 * 64 * pairs));
  CHECK(cost(backward_args(topk)).flops == Approx(2 * 64 * (pairs + 4 * kept)).epsilon(1e-3));
}
