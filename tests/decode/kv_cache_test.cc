#include "src/decode/kv_cache.h"

#include <numeric>

#include "kernels/kv_store/kv_store.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

constexpr Device kCpu{Device::Kind::Cpu, 0};
constexpr KvShape kShape{
    .layers = 2, .kv_heads = 2, .head_dim = 6, .max_context = 300, .max_sequences = 3};
constexpr int kHeads = 4;

// Value of channel d of KV head g of token t of a sequence written as `tag`.
float key_value(int tag, int layer, int64_t t, int64_t g, int64_t d, int part) {
  const auto position = static_cast<uint64_t>((((tag * 2 + layer) * 1000 + t) * 2 + g) * 16 + d);
  return Philox(static_cast<uint64_t>(part), Stream::Test).uniform(position);
}

void write(KvCache& cache, int id, int tag, int64_t first, int64_t count, Context& ctx) {
  std::vector<int32_t> pages = cache.pages(id);
  std::vector<int32_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(first));
  auto length = static_cast<int32_t>(cache.length(id));
  for (int layer = 0; layer < kShape.layers; ++layer) {
    std::vector<float> rows(static_cast<size_t>(count * (kHeads + 4) * 6), -1.0F);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t g = 0; g < 2; ++g) {
        for (int64_t d = 0; d < 6; ++d) {
          const int64_t row = i * (kHeads + 4);
          rows[static_cast<size_t>((row + kHeads + g) * 6 + d)] =
              key_value(tag, layer, first + i, g, d, 0);
          rows[static_cast<size_t>((row + kHeads + 2 + g) * 6 + d)] =
              key_value(tag, layer, first + i, g, d, 1);
        }
      }
    }
    kv_store({.k_pages = cache.k_pages(layer),
              .v_pages = cache.v_pages(layer),
              .qkv = view(rows.data(), {count, kHeads + 4, 6}),
              .positions = view(positions.data(), {count}),
              .page_table = view(pages.data(), {1, static_cast<int64_t>(pages.size())}),
              .lengths = view(&length, {1}),
              .heads = kHeads,
              .kv_heads = kShape.kv_heads},
             ctx);
  }
}

// Tokens [first, last) are those written as `tag`.
bool holds(const KvCache& cache, int id, int tag, int64_t first, int64_t last) {
  for (int layer = 0; layer < kShape.layers; ++layer) {
    const Tensor k = cache.k_pages(layer);
    const Tensor v = cache.v_pages(layer);
    for (int64_t t = first; t < last; ++t) {
      const int64_t page = cache.pages(id)[static_cast<size_t>(t / kPageTokens)];
      for (int64_t g = 0; g < 2; ++g) {
        const int64_t offset = (g * k.dim(1) + page) * kPageTokens * 6;
        float key[6];
        load_page_key(k.as<float>() + offset, t % kPageTokens, 6, key);
        for (int64_t d = 0; d < 6; ++d) {
          const float value = v.as<float>()[offset + t % kPageTokens * 6 + d];
          if (key[d] != key_value(tag, layer, t, g, d, 0)) return false;
          if (value != key_value(tag, layer, t, g, d, 1)) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

TEST_CASE("cache: appended one by one or at once, tokens are where they belong") {
  test::TestContext ctx;
  KvCache cache(kShape, kCpu);
  const int bulk = cache.create();
  const int single = cache.create();
  cache.extend(bulk, 200, ctx);
  write(cache, bulk, 1, 0, 200, ctx);
  for (int t = 0; t < 130; ++t) {
    cache.extend(single, 1, ctx);
    write(cache, single, 2, t, 1, ctx);
  }
  CHECK(holds(cache, bulk, 1, 0, 200));
  CHECK(holds(cache, single, 2, 0, 130));
  CHECK_FALSE(holds(cache, single, 1, 0, 130));
  CHECK(cache.length(single) == 130);
  CHECK(cache.pages(single).size() == 3);
}

TEST_CASE("cache: forks share pages until one of them writes") {
  test::TestContext ctx;
  KvCache cache(kShape, kCpu);
  const int a = cache.create();
  cache.extend(a, 100, ctx);
  write(cache, a, 1, 0, 100, ctx);
  const size_t before = cache.bytes();
  CHECK(before == 2 * kPageTokens * 6 * 2 * 2 * 2 * sizeof(float));
  const int b = cache.fork(a);
  CHECK(cache.bytes() == before);
  cache.extend(b, 1, ctx);
  write(cache, b, 7, 100, 1, ctx);
  CHECK(cache.bytes() == before / 2 * 3);  // only the last page was copied
  cache.extend(a, 1, ctx);
  write(cache, a, 8, 100, 1, ctx);
  CHECK(cache.bytes() == before / 2 * 3);  // `a` is alone on the old one
  for (const auto& [id, tag] : {std::pair{a, 8}, {b, 7}}) {
    CHECK(holds(cache, id, 1, 0, 100));
    CHECK(holds(cache, id, tag, 100, 101));
  }
  cache.release(a);
  CHECK(holds(cache, b, 1, 0, 100));
  cache.release(b);
  CHECK(cache.bytes() == 0);
}

TEST_CASE("cache: truncate gives pages back and the sequence can grow again") {
  test::TestContext ctx;
  KvCache cache(kShape, kCpu);
  const int a = cache.create();
  cache.extend(a, 200, ctx);
  write(cache, a, 1, 0, 200, ctx);
  const int b = cache.fork(a);
  cache.truncate(b, 70);
  CHECK(cache.length(b) == 70);
  CHECK(cache.pages(b).size() == 2);
  cache.extend(b, 60, ctx);
  write(cache, b, 2, 70, 60, ctx);
  CHECK(holds(cache, a, 1, 0, 200));
  CHECK(holds(cache, b, 1, 0, 70));
  CHECK(holds(cache, b, 2, 70, 130));
}

TEST_CASE("cache: limits are user errors, dead ids are bugs") {
  test::TestContext ctx;
  KvCache cache(kShape, kCpu);
  const int a = cache.create();
  cache.extend(a, 300, ctx);
  CHECK_THROWS_AS(cache.extend(a, 1, ctx), UserError);
  cache.create();
  const int c = cache.create();
  CHECK_THROWS_AS(cache.create(), UserError);
  cache.extend(c, 300, ctx);  // every sequence can be full
  cache.release(c);
  CHECK_THROWS_AS(cache.length(c), BugError);
  CHECK(cache.create() == c);
}

}  // namespace pivot
