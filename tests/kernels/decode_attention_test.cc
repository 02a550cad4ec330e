#include "kernels/decode_attention/decode_attention.h"

#include <cstring>
#include <memory>

#include "kernels/decode_attention/decode_attention_ref.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

enum class Values { Normal, Integer, Constant, Rising };

struct Case {
  std::vector<int32_t> lengths;
  int heads = 4;
  int kv_heads = 2;
  int head_dim = 16;
  std::string policy = "topk:k=20";
  Values values = Values::Normal;
};

// The tensors of one call; pages of the sequences are handed out in a shuffled order.
class Problem {
 public:
  explicit Problem(const Case& c, uint64_t seed = 1) : case_(c), rng_(seed, Stream::Test) {
    const auto b = static_cast<int64_t>(c.lengths.size());
    const int64_t longest = *std::max_element(c.lengths.begin(), c.lengths.end());
    columns_ = (longest + kPageTokens - 1) / kPageTokens + 1;
    pages_ = b * columns_;
    const int64_t d = c.head_dim;
    qkv = normal(b * (c.heads + 2 * c.kv_heads) * d);
    keys.resize(static_cast<size_t>(c.kv_heads * pages_ * kPageTokens * d));
    values.resize(keys.size());
    table.resize(static_cast<size_t>(pages_));
    for (int64_t i = 0; i < pages_; ++i) {
      // A permutation: 7 and the count have no common divisor, or backwards.
      table[static_cast<size_t>(i)] =
          static_cast<int32_t>(pages_ % 7 != 0 ? i * 7 % pages_ : pages_ - 1 - i);
    }
    const std::vector<float> k = normal(c.kv_heads * b * longest * d);
    const std::vector<float> v = normal(c.kv_heads * b * longest * d);
    for (int64_t s = 0; s < b; ++s) {
      for (int64_t t = 0; t < c.lengths[static_cast<size_t>(s)]; ++t) {
        for (int64_t g = 0; g < c.kv_heads; ++g) {
          const int64_t from = ((g * b + s) * longest + t) * d;
          store(s, g, t, k.data() + from, v.data() + from);
        }
      }
    }
    const auto rows = static_cast<size_t>(b * c.heads);
    out.assign(rows * static_cast<size_t>(d), -7);
    lse.assign(rows, -7);
    lse_visible.assign(rows, -7);
    tau.assign(rows, -7);
    jcut.assign(rows, -7);
  }

  void store(int64_t s, int64_t g, int64_t t, const float* key, const float* value) {
    const int64_t d = case_.head_dim;
    const int64_t page = table[static_cast<size_t>(s * columns_ + t / kPageTokens)];
    const int64_t offset = (g * pages_ + page) * kPageTokens * d;
    store_page_tokens({keys.data() + offset, values.data() + offset}, t % kPageTokens, 1, d, key,
                      value, d);
  }

  DecodeAttention args() {
    const auto b = static_cast<int64_t>(case_.lengths.size());
    const int64_t d = case_.head_dim;
    return {.out = view(out.data(), {b, case_.heads, d}),
            .lse = view(lse.data(), {b, case_.heads}),
            .tau = view(tau.data(), {b, case_.heads}),
            .jcut = view(jcut.data(), {b, case_.heads}),
            .lse_visible = view(lse_visible.data(), {b, case_.heads}),
            .nan_rows = view(&nan_rows, {1}),
            .qkv = view(qkv.data(), {b, case_.heads + 2 * case_.kv_heads, d}),
            .k_pages = view(keys.data(), {case_.kv_heads, pages_, d * kPageTokens}),
            .v_pages = view(values.data(), {case_.kv_heads, pages_, kPageTokens, d}),
            .page_table = view(table.data(), {b, columns_}),
            .lengths = view(case_.lengths.data(), {b}),
            .heads = case_.heads,
            .kv_heads = case_.kv_heads,
            .scale = 0.3F,
            .max_length = *std::max_element(case_.lengths.begin(), case_.lengths.end()),
            .policy = parse_policy(case_.policy)};
  }

  void run(int threads = 2) {
    ThreadPool pool(threads);
    const Device plan{Device::Kind::Plan, 0};
    Arena counted(plan, 0);
    CostLedger ledger;
    Context planned{plan, pool, counted, &ledger};
    decode_attention(args(), planned);
    Arena arena({Device::Kind::Cpu, 0}, counted.peak());
    Context ctx{{Device::Kind::Cpu, 0}, pool, arena, nullptr};
    decode_attention(args(), ctx);
  }

  std::vector<float> qkv, keys, values, out, lse, lse_visible, tau;
  std::vector<int32_t> table, jcut;
  int32_t nan_rows = 0;

 private:
  std::vector<float> normal(int64_t count) {
    std::vector<float> x(static_cast<size_t>(count));
    for (float& value : x) {
      const double z = rng_.normal(next_++);
      switch (case_.values) {
        case Values::Normal:
          value = static_cast<float>(z);
          break;
        case Values::Integer:
          value = static_cast<float>(std::lround(z));
          break;
        case Values::Constant:
          value = 0.5F;
          break;
        case Values::Rising:
          value = static_cast<float>(next_) * 1e-4F;
          break;
      }
    }
    return x;
  }

  Case case_;
  Philox rng_;
  uint64_t next_ = 0;
  int64_t columns_ = 0;
  int64_t pages_ = 0;
};

// Output error of fp32 sums of n weighted values and of the exponentials: see the derivation at
// use.
void compare(Problem& p, const Case& c) {
  const DecodeAttention a = p.args();
  for (int64_t b = 0; b < static_cast<int64_t>(c.lengths.size()); ++b) {
    for (int64_t h = 0; h < c.heads; ++h) {
      CAPTURE(c.policy, b, h, c.lengths[static_cast<size_t>(b)]);
      const ref::DecodeRow expected = ref::decode_attention(a, b, h);
      const auto row = static_cast<size_t>(b * c.heads + h);
      CHECK(p.tau[row] == expected.tau);
      CHECK(p.jcut[row] == expected.jcut);
      // A score is off by at most D * 2^-24 of its partial sums, here below 1e-5; log-sum-exp no
      // more than that, and the weights relatively as much, so a convex mean of values below 5 by
      // 1e-4.
      CHECK(p.lse[row] == Approx(expected.lse).margin(2e-5));
      CHECK(p.lse_visible[row] == Approx(expected.lse_visible).margin(2e-5));
      double worst = 0;
      for (int64_t d = 0; d < c.head_dim; ++d) {
        const double got = p.out[row * static_cast<size_t>(c.head_dim) + static_cast<size_t>(d)];
        worst = std::max(worst, std::abs(got - expected.out[static_cast<size_t>(d)]));
      }
      CHECK(worst < 1e-4);
    }
  }
}

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("decode attention agrees with its reference: sets exactly, values to rounding") {
  const std::vector<int32_t> lengths = {1, 19, 20, 21, 63, 64, 65, 130, 500};
  for (const char* policy :
       {"dense", "topk:k=20", "topk:k=1", "topk:5%,min=3", "topk:100%", "topk:k=20,sink=3",
        "topk:k=20,recent=5", "topk:k=20,sink=30,recent=40", "topk:k=9,sink=2,recent=3,group=max",
        "topk:10%,group=sum", "topk:k=20,group=max"}) {
    for (const Values values : {Values::Normal, Values::Integer, Values::Constant}) {
      const Case c{.lengths = lengths, .policy = policy, .values = values};
      Problem p(c);
      p.run();
      compare(p, c);
      CHECK(p.nan_rows == 0);
    }
  }
}

TEST_CASE("decode attention with other shapes of heads") {
  for (const auto& [heads, kv_heads, head_dim] :
       {std::tuple{1, 1, 2}, {8, 1, 12}, {3, 3, 64}, {6, 2, 20}, {2, 1, 128}}) {
    for (const char* policy : {"dense", "topk:k=33", "topk:k=33,group=sum"}) {
      const Case c{.lengths = {100, 321},
                   .heads = heads,
                   .kv_heads = kv_heads,
                   .head_dim = head_dim,
                   .policy = policy};
      Problem p(c);
      p.run();
      compare(p, c);
    }
  }
}

TEST_CASE("decode attention over several blocks, parts and chunks") {
  // 9000 keys: 5 blocks; k = 2700 makes 3 chunks; a rising score enters every key into the list.
  for (const char* policy :
       {"dense", "topk:k=30", "topk:30%", "topk:1%,sink=4,recent=64", "topk:2%,group=max"}) {
    for (const Values values : {Values::Normal, Values::Integer, Values::Rising}) {
      const Case c{.lengths = {9000, 4097, 40},
                   .heads = 2,
                   .kv_heads = 1,
                   .head_dim = 8,
                   .policy = policy,
                   .values = values};
      Problem one(c), four(c);
      one.run(1);
      four.run(4);
      CHECK(same_bits(one.out, four.out));
      CHECK(same_bits(one.lse, four.lse));
      CHECK(same_bits(one.lse_visible, four.lse_visible));
      CHECK(one.jcut == four.jcut);
      if (values != Values::Rising) compare(one, c);
      const ref::DecodeRow row = ref::decode_attention(one.args(), 0, 1);
      CHECK(one.tau[1] == row.tau);
      CHECK(one.jcut[1] == row.jcut);
    }
  }
}

TEST_CASE("decode attention: bits do not depend on the batch; k >= n is dense bit for bit") {
  const std::vector<int32_t> lengths = {700, 3000, 64};
  for (const char* policy : {"dense", "topk:3%", "topk:3%,group=sum"}) {
    Case c{.lengths = lengths, .policy = policy};
    Problem all(c);
    all.run();
    for (size_t s = 0; s < lengths.size(); ++s) {
      // The same tensors, of which only one sequence has keys.
      Problem alone(c);
      DecodeAttention a = alone.args();
      a.out = a.out.rows(static_cast<int64_t>(s), static_cast<int64_t>(s) + 1);
      for (Tensor* t :
           {&a.lse, &a.tau, &a.jcut, &a.lse_visible, &a.qkv, &a.page_table, &a.lengths}) {
        *t = t->rows(static_cast<int64_t>(s), static_cast<int64_t>(s) + 1);
      }
      test::TestContext ctx(size_t{1} << 26, 3);
      decode_attention(a, ctx);
      const size_t width = static_cast<size_t>(c.heads * c.head_dim);
      CHECK(std::memcmp(alone.out.data() + s * width, all.out.data() + s * width,
                        width * sizeof(float)) == 0);
    }
  }
  Problem dense({.lengths = lengths, .policy = "dense"});
  Problem full({.lengths = lengths, .policy = "topk:k=3000"});
  dense.run();
  full.run();
  CHECK(same_bits(dense.out, full.out));
  CHECK(same_bits(dense.lse, full.lse));
  CHECK(dense.jcut == full.jcut);
}

TEST_CASE("decode attention: a NaN score makes the row NaN and is counted; empty rows are zero") {
  for (const char* policy : {"dense", "topk:k=5", "topk:k=5,group=max", "topk:k=5,sink=10"}) {
    Case c{.lengths = {100, 100}, .policy = policy};
    Problem p(c);
    const std::vector<float> bad(16, NAN);
    const std::vector<float> value(16, 1.0F);
    p.store(0, 1, 3, bad.data(), value.data());  // KV head 1 of sequence 0: its heads 2 and 3
    p.run();
    CHECK(p.nan_rows == 2);
    CHECK(std::isnan(p.out[2 * 16]));
    CHECK(std::isnan(p.out[3 * 16 + 15]));
    CHECK(std::isnan(p.lse[3]));
    CHECK_FALSE(std::isnan(p.out[0]));
    CHECK_FALSE(std::isnan(p.out[4 * 16]));
  }
  Case c{.lengths = {0, 90}, .policy = "topk:k=5"};
  Problem p(c);
  p.run();
  CHECK(p.out[0] == 0);
  CHECK(p.lse[0] == -INFINITY);
}

TEST_CASE("decode attention refuses tensors that do not fit") {
  Problem p({.lengths = {10}});
  DecodeAttention a = p.args();
  a.max_length = 100000;
  CHECK_THROWS_AS(check(a), BugError);
  a = p.args();
  a.kv_heads = 3;
  CHECK_THROWS_AS(check(a), BugError);
}

TEST_CASE("scratch grows with batch and length, so that one plan covers all smaller calls") {
  for (const char* policy : {"dense", "topk:1%", "topk:50%", "topk:2%,group=sum"}) {
    size_t before = 0;
    for (const int batch : {1, 2, 3, 8}) {
      for (const int length : {100, 5000, 40000}) {
        DecodeAttention a{};
        a.qkv.shape = {batch, 12, 16};
        a.heads = 8;
        a.kv_heads = 2;
        a.max_length = length;
        a.policy = parse_policy(policy);
        const size_t bytes = scratch_bytes(a, 2);
        if (length > 100) CHECK(bytes >= before);
        before = bytes;
        DecodeAttention larger = a;
        larger.qkv.shape = {batch + 1, 12, 16};
        CHECK(scratch_bytes(larger, 2) >= bytes);
      }
    }
  }
}

}  // namespace pivot
