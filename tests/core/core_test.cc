#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/op.h"
#include "src/core/context.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {

// An op of the tests' own: y = 2 x, with scratch, to see how calls are dispatched.
struct Twice {
  Tensor y;       // out (N) F32
  Tensor x;       // in  (N) F32
  int64_t takes;  // bytes of scratch the kernel takes
};
void check(const Twice& a) {
  expect(a.y, DType::F32, a.x.shape, "y");
}
Cost cost(const Twice& a) {
  return {static_cast<double>(a.x.count()), 8};
}
size_t scratch_bytes(const Twice&, int) {
  return 256;
}
void twice_cpu(const Twice& a, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  ctx.scratch.tensor(DType::U8, {a.takes});
  for (int64_t i = 0; i < a.x.count(); ++i) a.y.as<float>()[i] = 2 * a.x.as<float>()[i];
}
constexpr Op<Twice> kTwice{"twice", &twice_cpu, nullptr};
constexpr Op<Twice> kNowhere{"nowhere", nullptr, nullptr};

TEST_CASE("tensors: views, rows, types") {
  std::vector<float> data(24);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  const Tensor t = view(data.data(), {4, 3, 2});
  CHECK(t.count() == 24);
  CHECK(t.bytes() == 96);
  CHECK(t.rows(1, 3).shape == Shape{2, 3, 2});
  CHECK(t.rows(1, 3).as<float>()[0] == 6.0F);
  CHECK(t.reshaped({6, 4}).dim(1) == 4);
  CHECK_THROWS_AS(t.reshaped({5, 5}), BugError);
  CHECK_THROWS_AS(t.rows(3, 5), BugError);
  CHECK_THROWS_AS(t.as<int32_t>(), BugError);
  CHECK_FALSE(Tensor{}.present());
  CHECK_THROWS_WITH(expect(t, DType::F32, {4, 3}, "weights"), ContainsSubstring("weights is F32"));
  CHECK_NOTHROW(expect_if_present(Tensor{}, DType::F32, {4}, "bias"));
}

TEST_CASE("counts beyond 32 bits do not overflow") {
  const Tensor t{nullptr, DType::BF16, {512 * 1024, 64, 128}};
  CHECK(t.count() == int64_t{1} << 32);
  CHECK(t.bytes() == size_t{1} << 33);
}

TEST_CASE("an arena gives memory back with its scope and remembers its peak") {
  Arena arena({}, 4096);
  const Tensor a = arena.tensor(DType::F32, {3});
  {
    const Arena::Scope scope = arena.scope();
    const Tensor b = arena.tensor(DType::F32, {100});
    CHECK(static_cast<char*>(b.data) - static_cast<char*>(a.data) == 64);
    CHECK(arena.used() == 64 + 448);
  }
  CHECK(arena.used() == 64);
  CHECK(arena.peak() == 512);
  CHECK_THROWS_AS(arena.tensor(DType::F32, {2000}), BugError);
  Arena plan({Device::Kind::Plan, 0}, 0);
  CHECK(plan.tensor(DType::F32, {int64_t{1} << 40}).data == nullptr);
  CHECK(plan.peak() == size_t{1} << 42);
}

TEST_CASE("an op runs its kernel, counts its cost, and is planned with its scratch") {
  std::vector<float> x{1, 2, 3}, y(3);
  test::TestContext cpu(4096, 1), plan(0, 1, {Device::Kind::Plan, 0});
  kTwice({view(y.data(), {3}), view(x.data(), {3}), 256}, cpu);
  CHECK(y == std::vector<float>{2, 4, 6});
  CHECK(cpu.ledger.by_op["twice"].flops == 3);
  kTwice({{nullptr, DType::F32, {3}}, {nullptr, DType::F32, {3}}, 256}, plan);
  CHECK(plan.arena.peak() == cpu.arena.peak());
  CHECK(plan.ledger.total.flops == 3);
}

TEST_CASE("an op refuses wrong shapes, missing kernels and undeclared scratch") {
  std::vector<float> x(3), y(4);
  test::TestContext cpu(4096, 1);
  const Tensor tx = view(x.data(), {3});
  CHECK_THROWS_WITH(kTwice({view(y.data(), {4}), tx, 0}, cpu), ContainsSubstring("y is F32 (4)"));
  CHECK_THROWS_WITH(kNowhere({tx, tx, 0}, cpu), ContainsSubstring("nowhere: no kernel for cpu"));
  CHECK_THROWS_WITH(kTwice({tx, tx, 1024}, cpu), ContainsSubstring("256 declared"));
}

TEST_CASE("bfloat16 rounds to nearest even and keeps NaN and infinity") {
  CHECK(to_float(to_bfloat16(1.0F)) == 1.0F);
  CHECK(to_bfloat16(1.00390625F).bits == 0x3F80);  // halfway between 1 and the next: to even
  CHECK(to_bfloat16(1.01171875F).bits == 0x3F82);  // halfway above an odd one: to even
  CHECK(to_bfloat16(std::nextafter(1.00390625F, 2.0F)).bits == 0x3F81);  // just above halfway
  CHECK(std::isnan(to_float(to_bfloat16(NAN))));
  CHECK(to_float(to_bfloat16(INFINITY)) == INFINITY);
  CHECK(to_float(to_bfloat16(-3.4e38F)) == -INFINITY);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 b{static_cast<uint16_t>(bits)};
    if (!std::isnan(to_float(b))) REQUIRE(to_bfloat16(to_float(b)).bits == bits);
  }
}

TEST_CASE("devices by name") {
  CHECK(parse_device("cpu") == Device{Device::Kind::Cpu, 0});
  CHECK_THROWS_AS(parse_device("tpu"), UserError);
  CHECK(to_string(Device{Device::Kind::Cuda, 3}) == "cuda:3");
}

}  // namespace pivot
