// decode_attention and kv_store on CUDA: sets exactly as the reference, values to rounding, bits
// that depend on the sequence alone.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/decode_attention/decode_attention_ref.h"
#include "kernels/kv_store/kv_store.h"
#include "src/base/philox.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

enum class Values { Normal, Integer, Constant };

struct Case {
  std::vector<int32_t> lengths;
  int heads = 4;
  int kv_heads = 2;
  int64_t head_dim = 16;
  std::string policy = "topk:k=20";
  Values values = Values::Normal;
  int64_t spare_pages = 1;  // columns of the page table beyond the longest sequence
};

template <class T>
T number(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return to_bfloat16(x);
  }
}
template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

// The tensors of one call on the host; unused parts of pages are NaN.
template <class T>
struct Problem {
  Case c;
  int64_t sequences, longest, columns, pages, width;
  std::vector<T> tokens;  // (B, longest, H + 2 G, D): every token's qkv
  std::vector<T> qkv, keys, values;
  std::vector<int32_t> table;

  explicit Problem(const Case& given, uint64_t seed = 1)
      : c(given),
        sequences(static_cast<int64_t>(c.lengths.size())),
        longest(*std::max_element(c.lengths.begin(), c.lengths.end())),
        columns((longest + kPageTokens - 1) / kPageTokens + c.spare_pages),
        pages(sequences * columns),
        width((c.heads + 2 * c.kv_heads) * c.head_dim) {
    const Philox rng(seed, Stream::Test);
    tokens.resize(static_cast<size_t>(sequences * longest * width));
    for (size_t i = 0; i < tokens.size(); ++i) {
      const float z = c.values == Values::Constant ? 0.5F : rng.normal(i);
      tokens[i] = number<T>(c.values == Values::Integer ? std::round(z) : z);
    }
    for (int64_t i = 0; i < pages; ++i) {  // scattered: 7 and the count have no common divisor
      table.push_back(static_cast<int32_t>(pages % 7 != 0 ? i * 7 % pages : pages - 1 - i));
    }
    const T nothing = number<T>(std::numeric_limits<float>::quiet_NaN());
    keys.assign(static_cast<size_t>(c.kv_heads * pages * kPageTokens * c.head_dim), nothing);
    values = keys;
    qkv.assign(static_cast<size_t>(sequences * width), T{});
    for (int64_t b = 0; b < sequences; ++b) {
      const int64_t n = c.lengths[static_cast<size_t>(b)];
      for (int64_t t = 0; t < n; ++t) store(b, t);
      if (n > 0) std::copy_n(token(b, n - 1), width, qkv.begin() + b * width);
    }
  }

  T* token(int64_t b, int64_t t) { return tokens.data() + (b * longest + t) * width; }
  T* in_page(std::vector<T>& pool, int64_t b, int64_t g, int64_t t) {
    const int64_t page = table[static_cast<size_t>(b * columns + t / kPageTokens)];
    return pool.data() + ((g * pages + page) * kPageTokens + t % kPageTokens) * c.head_dim;
  }
  void store(int64_t b, int64_t t) {
    for (int64_t g = 0; g < c.kv_heads; ++g) {
      const T* key = token(b, t) + (c.heads + g) * c.head_dim;
      std::copy_n(key, c.head_dim, in_page(keys, b, g, t));
      std::copy_n(key + c.kv_heads * c.head_dim, c.head_dim, in_page(values, b, g, t));
    }
  }

  // Inputs on the host; outputs absent.
  DecodeAttention args() {
    DecodeAttention a{};
    a.qkv = view(qkv.data(), {sequences, c.heads + 2 * c.kv_heads, c.head_dim});
    a.k_pages = view(keys.data(), {c.kv_heads, pages, c.head_dim * kPageTokens});
    a.v_pages = view(values.data(), {c.kv_heads, pages, kPageTokens, c.head_dim});
    a.page_table = view(table.data(), {sequences, columns});
    a.lengths = view(c.lengths.data(), {sequences});
    a.heads = c.heads;
    a.kv_heads = c.kv_heads;
    a.scale = 0.3F;
    a.max_length = columns * kPageTokens;
    a.policy = parse_policy(c.policy);
    return a;
  }
};

template <class T>
struct Result {
  std::vector<T> out;
  std::vector<float> lse, tau, visible;
  std::vector<int32_t> jcut;
  int32_t nan_rows = 0;

  bool same(const Result& other) const {
    return same_bits(out, other.out) && same_bits(lse, other.lse) && same_bits(tau, other.tau) &&
           same_bits(visible, other.visible) && jcut == other.jcut;
  }
};

enum class Visible { Wanted, Absent };

template <class T>
Result<T> run(Problem<T>& p, Visible visible = Visible::Wanted) {
  test::CudaTestContext cuda;
  const DecodeAttention host = p.args();
  const DType real = DTypeOf<T>::kValue;
  const Shape by_head{p.sequences, p.c.heads};
  const test::CudaBuffer qkv(cuda, host.qkv.shape, p.qkv), keys(cuda, host.k_pages.shape, p.keys),
      values(cuda, host.v_pages.shape, p.values), table(cuda, host.page_table.shape, p.table),
      lengths(cuda, host.lengths.shape, p.c.lengths);
  const test::CudaBuffer out(cuda, real, {p.sequences, p.c.heads, p.c.head_dim}),
      lse(cuda, DType::F32, by_head), tau(cuda, DType::F32, by_head),
      all(cuda, DType::F32, by_head), jcut(cuda, DType::I32, by_head);
  const test::CudaBuffer nan_rows(cuda, {1}, std::vector<int32_t>{0});
  DecodeAttention a = host;
  a.qkv = qkv;
  a.k_pages = keys;
  a.v_pages = values;
  a.page_table = table;
  a.lengths = lengths;
  a.out = out;
  a.lse = lse;
  a.tau = tau;
  a.jcut = jcut;
  if (visible == Visible::Wanted) a.lse_visible = all;
  a.nan_rows = nan_rows;
  test::run_twin(&decode_attention_cuda, decode_attention, a, cuda);
  for (const auto* buffer : {&out, &lse, &tau, &all, &jcut, &nan_rows}) CHECK(buffer->intact());
  return {out.template download<T>(), lse.download<float>(),    tau.download<float>(),
          all.download<float>(),      jcut.download<int32_t>(), nan_rows.download<int32_t>()[0]};
}

template <class T>
void check_row(Problem<T>& p, const Result<T>& r, int64_t b, int64_t h) {
  const int64_t n = p.c.lengths[static_cast<size_t>(b)];
  CAPTURE(p.c.policy, p.c.head_dim, b, h, n, sizeof(T));
  const auto row = static_cast<size_t>(b * p.c.heads + h);
  const T* out = r.out.data() + row * static_cast<size_t>(p.c.head_dim);
  if (n == 0) {
    CHECK(std::all_of(out, out + p.c.head_dim, [](T x) { return ref::detail::exactly(x) == 0; }));
    CHECK(r.lse[row] == -std::numeric_limits<float>::infinity());
    CHECK(r.jcut[row] == -1);
    return;
  }
  const ref::DecodeRow want = ref::decode_attention<T>(p.args(), b, h, ref::PageLayout::Rows);
  CHECK(r.tau[row] == want.tau);
  CHECK(r.jcut[row] == want.jcut);
  // A score is off by at most D * 2^-24 of its partial sums (tensor cores: 2^-22 of the largest
  // product a step), here below 1e-5; log-sum-exp no more than that, and the weights relatively as
  // much, so a convex mean of values below 5 by 1e-4. Rounding the output to BF16 adds 2^-9 of it.
  CHECK(r.lse[row] == Approx(want.lse).margin(4e-5));
  CHECK(r.visible[row] == Approx(want.lse_visible).margin(4e-5));
  double worst = 0;
  for (int64_t d = 0; d < p.c.head_dim; ++d) {
    const double exact = want.out[static_cast<size_t>(d)];
    const double rounding = sizeof(T) == 2 ? std::abs(exact) / 256 : 0;
    worst = std::max(worst, std::abs(ref::detail::exactly(out[d]) - exact) - rounding);
  }
  CHECK(worst < 1e-4);
}

template <class T>
void check_case(const Case& c) {
  Problem<T> p(c);
  const Result<T> r = run(p);
  CHECK(r.nan_rows == 0);
  for (int64_t b = 0; b < p.sequences; ++b) {
    for (int64_t h = 0; h < c.heads; ++h) check_row(p, r, b, h);
  }
}

const std::vector<int32_t> kLengths = {1, 0, 63, 64, 65, 20, 300};

}  // namespace

TEST_CASE("cuda decode attention: the reference's sets, its values to rounding") {
  for (const char* policy : {"dense", "topk:k=20", "topk:k=1", "topk:5%,min=3", "topk:100%",
                             "topk:k=20,sink=3,recent=5", "topk:k=20,sink=30,recent=40",
                             "topk:k=9,sink=2,recent=3,group=max", "topk:10%,group=sum"}) {
    check_case<float>({.lengths = kLengths, .policy = policy});
    check_case<BFloat16>({.lengths = kLengths, .policy = policy});
  }
  for (const Values values : {Values::Integer, Values::Constant}) {
    check_case<float>({.lengths = kLengths, .values = values});
    check_case<BFloat16>({.lengths = kLengths, .policy = "topk:k=20,group=sum", .values = values});
  }
}

TEST_CASE("cuda decode attention: other shapes of heads") {
  for (const auto& [heads, kv_heads, head_dim] :
       {std::tuple{1, 1, 8}, {12, 1, 24}, {20, 1, 16}, {2, 1, 64}, {4, 1, 128}, {2, 2, 256}}) {
    for (const char* policy : {"dense", "topk:k=33", "topk:k=33,group=max"}) {
      const Case c{.lengths = {100, 290},
                   .heads = heads,
                   .kv_heads = kv_heads,
                   .head_dim = head_dim,
                   .policy = policy};
      check_case<float>(c);
      check_case<BFloat16>(c);
    }
  }
}

TEST_CASE("cuda decode attention: several ranges, and bins with more keys than candidates",
          "[sanitize]") {
  for (const char* policy : {"dense", "topk:k=30", "topk:30%", "topk:1%,sink=4,recent=64"}) {
    const Case c{.lengths = {4500, 40}, .heads = 2, .kv_heads = 1, .head_dim = 8, .policy = policy};
    check_case<BFloat16>(c);
  }
  for (const Values values : {Values::Integer, Values::Constant}) {
    check_case<float>({.lengths = {4500},
                       .heads = 1,
                       .kv_heads = 1,
                       .head_dim = 8,
                       .policy = "topk:k=4400",
                       .values = values});
  }
}

TEST_CASE("cuda decode attention: bits depend on the sequence alone") {
  const std::vector<int32_t> lengths = {700, 0, 2100, 64};
  for (const char* policy : {"dense", "topk:3%", "topk:3%,group=sum"}) {
    CAPTURE(policy);
    Problem<BFloat16> all({.lengths = lengths, .policy = policy});
    const Result<BFloat16> together = run(all);
    for (const int64_t s : {0, 2, 3}) {
      const auto at = static_cast<size_t>(s);
      // The others are empty now, and the table has room for longer ones.
      Case c{.lengths = {0, 0, 0, 0}, .policy = policy, .spare_pages = 1};
      c.lengths[at] = lengths[at];
      Problem<BFloat16> alone(all);
      alone.c.lengths = c.lengths;
      const Result<BFloat16> got = run(alone, Visible::Wanted);
      const auto width = static_cast<size_t>(alone.c.heads * alone.c.head_dim);
      CHECK(std::memcmp(got.out.data() + at * width, together.out.data() + at * width,
                        width * sizeof(BFloat16)) == 0);
      for (size_t h = 0; h < 4; ++h) {
        CHECK(got.lse[at * 4 + h] == together.lse[at * 4 + h]);
        CHECK(got.visible[at * 4 + h] == together.visible[at * 4 + h]);
      }
    }
    // More capacity: other strides and grids, the same bits.
    Problem<BFloat16> roomy({.lengths = lengths, .policy = policy, .spare_pages = 40});
    CHECK(run(roomy).same(together));
  }
}

TEST_CASE("cuda decode attention: k >= n is dense bit for bit; lse_visible changes nothing",
          "[sanitize]") {
  const std::vector<int32_t> lengths = {300, 65, 600};
  Problem<BFloat16> dense({.lengths = lengths, .policy = "dense"});
  Problem<BFloat16> full({.lengths = lengths, .policy = "topk:k=600"});
  CHECK(run(dense).same(run(full)));
  Problem<BFloat16> some({.lengths = lengths, .policy = "topk:k=20"});
  const Result<BFloat16> with = run(some), without = run(some, Visible::Absent);
  CHECK(same_bits(with.out, without.out));
  CHECK(same_bits(with.lse, without.lse));
}

TEST_CASE("cuda decode attention: a NaN score makes the row NaN and is counted") {
  for (const char* policy : {"dense", "topk:k=5", "topk:k=5,group=max", "topk:k=5,sink=10"}) {
    CAPTURE(policy);
    Problem<float> p({.lengths = {100, 100}, .policy = policy});
    std::fill_n(p.in_page(p.keys, 0, 1, 3), 16, NAN);  // KV head 1: query heads 2 and 3
    const Result<float> r = run(p);
    CHECK(r.nan_rows == 2);
    CHECK(std::isnan(r.out[2 * 16]));
    CHECK(std::isnan(r.out[3 * 16 + 15]));
    CHECK(std::isnan(r.lse[3]));
    CHECK(std::isnan(r.visible[2]));
    check_row(p, r, 0, 0);
    check_row(p, r, 1, 3);
  }
  // Infinite scores have no softmax; a value that is not kept has no influence.
  Problem<float> p({.lengths = {100}, .heads = 1, .kv_heads = 1, .policy = "topk:k=5"});
  std::fill_n(p.in_page(p.keys, 0, 0, 90), 16, 0.0F);
  p.in_page(p.keys, 0, 0, 90)[2] = p.qkv[2] > 0 ? INFINITY : -INFINITY;
  CHECK(run(p).nan_rows == 1);
  p.in_page(p.keys, 0, 0, 90)[2] *= -1;
  std::fill_n(p.in_page(p.values, 0, 0, 90), 16, NAN);
  const Result<float> r = run(p);
  CHECK(r.nan_rows == 0);
  CHECK(std::isfinite(r.out[0]));
}

namespace {

// Tokens [first, first + count) of sequence b of `p` through kv_store.
template <class T>
void check_store(const Case& c) {
  Problem<T> p(c);
  test::CudaTestContext cuda;
  const DecodeAttention host = p.args();
  std::vector<T> nothing(p.keys.size(), number<T>(std::numeric_limits<float>::quiet_NaN()));
  const test::CudaBuffer keys(cuda, host.k_pages.shape, nothing),
      values(cuda, host.v_pages.shape, nothing), table(cuda, host.page_table.shape, p.table);
  const Shape heads{c.heads + 2 * c.kv_heads, c.head_dim};
  // All but the last token of each sequence at once, then the last of all together.
  std::vector<int32_t> last;
  for (int64_t b = 0; b < p.sequences; ++b) {
    const int32_t n = c.lengths[static_cast<size_t>(b)];
    last.push_back(std::max(0, n - 1));
    if (n < 2) continue;
    std::vector<int32_t> positions;
    for (int32_t t = 0; t < n - 1; ++t) positions.push_back(t);
    const std::vector<T> rows(p.token(b, 0), p.token(b, n - 1));
    const test::CudaBuffer qkv(cuda, {n - 1, heads[0], heads[1]}, rows),
        at(cuda, {n - 1}, positions), length(cuda, {1}, std::vector<int32_t>{n - 1});
    test::run_twin(&kv_store_cuda, kv_store,
                   {.k_pages = keys,
                    .v_pages = values,
                    .qkv = qkv,
                    .positions = at,
                    .page_table = table.tensor().rows(b, b + 1),
                    .lengths = length,
                    .heads = c.heads,
                    .kv_heads = c.kv_heads},
                   cuda);
  }
  const test::CudaBuffer qkv(cuda, host.qkv.shape, p.qkv), at(cuda, {p.sequences}, last),
      lengths(cuda, {p.sequences}, c.lengths);
  test::run_twin(&kv_store_cuda, kv_store,
                 {.k_pages = keys,
                  .v_pages = values,
                  .qkv = qkv,
                  .positions = at,
                  .page_table = table,
                  .lengths = lengths,
                  .heads = c.heads,
                  .kv_heads = c.kv_heads},
                 cuda);
  CHECK(same_bits(keys.download<T>(), p.keys));
  CHECK(same_bits(values.download<T>(), p.values));
  CHECK(keys.intact());
  CHECK(values.intact());
}

}  // namespace

TEST_CASE("cuda kv_store: tokens where the pages have them, nothing anywhere else", "[sanitize]") {
  const std::vector<int32_t> lengths = {70, 0, 1, 64, 129};
  check_store<float>({.lengths = lengths});
  check_store<BFloat16>({.lengths = lengths, .heads = 3, .kv_heads = 3, .head_dim = 24});
  check_store<BFloat16>({.lengths = lengths, .heads = 2, .kv_heads = 1, .head_dim = 6});
}

}  // namespace pivot
