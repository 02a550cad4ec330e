/// What the generated tests do not cover: gradients of ops with unusual argument names, aliasing,
/// optional operands, several steps, and the mathematics of the rotary embedding.

#include <bit>
#include <limits>
#include <numbers>

#include "kernels/adamw/adamw_ref.h"
#include "kernels/cast/cast.h"
#include "kernels/cross_entropy/cross_entropy_ref.h"
#include "kernels/embedding/embedding_ref.h"
#include "kernels/matmul/matmul_ref.h"
#include "kernels/qk_norm/qk_norm_ref.h"
#include "kernels/rope/rope_ref.h"
#include "kernels/swiglu/swiglu_ref.h"
#include "tests/kernels/op_harness.h"

namespace pivot::test {

TEST_CASE("the cross-entropy reference against central differences") {
  using Ref = ref::LinearCrossEntropyRef;
  for (const ref::OpCase& c : Ref::cases()) {
    if (c.values == ref::Values::Large || c.dims.n == 0 || c.dims.v > 1000) continue;
    INFO(c.name);
    const ref::ValueMap<double> before = exact_values<Ref>(c);
    ref::ValueMap<double> after = before;
    Ref::run(c, after);
    for (const char* name : {"x", "w"}) {
      std::vector<double> gradient = after.at(std::string("d") + name);
      if (*name == 'w') {
        for (size_t i = 0; i < gradient.size(); ++i) gradient[i] -= before.at("dw")[i];
      }
      const auto loss = [&](const std::vector<double>& x) {
        ref::ValueMap<double> t = before;
        t[name] = x;
        Ref::run(c, t);
        double total = 0;
        for (const double l : t["loss"]) total += static_cast<double>(Ref::kScale) * l;
        return total;
      };
      const GradientCheck result = check_gradient(name, before.at(name), gradient, loss, 16);
      INFO(result.message);
      CHECK(result.ok);
    }
  }
}

TEST_CASE("the qk_norm reference against central differences") {
  using Ref = ref::QkNormBackwardRef;
  for (const ref::OpCase& c : Ref::cases()) {
    if (c.values == ref::Values::Large || c.dims.n == 0) continue;
    INFO(c.name);
    const ref::ValueMap<double> before = exact_values<Ref>(c);
    ref::ValueMap<double> after = before;
    Ref::run(c, after);
    for (const std::string name : {"qkv", "q_weight", "k_weight"}) {
      std::vector<double> gradient = after.at("d" + name);
      for (size_t i = 0; name != "qkv" && i < gradient.size(); ++i) {
        gradient[i] -= before.at("d" + name)[i];
      }
      const auto loss = [&](const std::vector<double>& x) {
        ref::ValueMap<double> t = before;
        t[name] = x;
        ref::QkNormForwardRef::run(c, t);
        double total = 0;
        for (size_t i = 0; i < t["out"].size(); ++i) total += before.at("dqkv")[i] * t["out"][i];
        return total;
      };
      const GradientCheck result = check_gradient(name, before.at(name), gradient, loss, 24);
      INFO(result.message);
      CHECK(result.ok);
    }
  }
}

namespace {

/// The op's fp32 output after a run on the CPU.
template <class Ref>
std::vector<float> output(const ref::OpCase& c, const ref::TensorMap& tensors,
                          const std::string& name) {
  TestContext context(size_t{1} << 26, 2);
  Ref::call(c, tensors, context);
  const Tensor& t = tensors.at(name);
  return {t.as<float>(), t.as<float>() + t.count()};
}

}  // namespace

TEST_CASE("matmul: residual may be y itself, bias and residual may be absent") {
  using Ref = ref::MatmulForwardRef;
  for (const ref::OpCase& c : Ref::cases()) {
    for (const bool bias : {false, true}) {
      for (const bool residual : {false, true}) {
        INFO(c.name << ", bias " << bias << ", residual " << residual);
        ref::ValueMap<double> values = case_values<Ref>(c);
        Buffers buffers = make_buffers(Ref::operands(c), values);
        ref::TensorMap tensors = tensors_of(buffers);
        if (!bias) {
          values.erase("bias");
          tensors.erase("bias");
        }
        if (!residual) {
          values.erase("residual");
          tensors.erase("residual");
        } else {
          tensors["y"] = tensors["residual"];
        }
        ref::ValueMap<ref::Enclosed> want = enclosed(values);
        Ref::run(c, want);
        const std::vector<float> got = output<Ref>(c, tensors, "y");
        const Comparison result = compare("y", tensors.at("y").shape, got.data(), want.at("y"));
        INFO(result.message);
        CHECK(result.ok);
      }
    }
  }
}

TEST_CASE("matmul: with few rows a row's bits do not depend on the others") {
  using Ref = ref::MatmulForwardRef;
  for (const int64_t width : {7, 29, 100}) {
    const ref::OpCase all{"sixteen", {.n = 16, .i = width, .o = 203}};
    Buffers buffers = make_buffers(Ref::operands(all), case_values<Ref>(all));
    const ref::TensorMap tensors = tensors_of(buffers);
    const std::vector<float> together = output<Ref>(all, tensors, "y");
    for (const int64_t rows : {1, 2, 3}) {
      for (int64_t n = 0; n + rows <= 16; ++n) {
        ref::TensorMap some = tensors;
        for (const char* name : {"x", "y", "residual"}) {
          some[name] = tensors.at(name).rows(n, n + rows);
        }
        const ref::OpCase part{"part", {.n = rows, .i = width, .o = 203}};
        const std::vector<float> alone = output<Ref>(part, some, "y");
        CHECK(std::equal(alone.begin(), alone.end(), together.begin() + n * 203));
      }
    }
  }
}

TEST_CASE("matmul backward: dx may be absent") {
  using Ref = ref::MatmulBackwardRef;
  const ref::OpCase c = Ref::cases().front();
  Buffers with = make_buffers(Ref::operands(c), case_values<Ref>(c));
  Buffers without = make_buffers(Ref::operands(c), case_values<Ref>(c));
  ref::TensorMap tensors = tensors_of(without);
  tensors.erase("dx");
  CHECK(output<Ref>(c, tensors_of(with), "dw") == output<Ref>(c, tensors, "dw"));
}

TEST_CASE("matmul backward: without dw the gradient of x is the same") {
  using Ref = ref::MatmulBackwardRef;
  const ref::OpCase c = Ref::cases().front();
  Buffers with = make_buffers(Ref::operands(c), case_values<Ref>(c));
  Buffers without = make_buffers(Ref::operands(c), case_values<Ref>(c));
  ref::TensorMap tensors = tensors_of(without);
  const Tensor dw = tensors.at("dw");
  const std::vector<float> before(dw.as<float>(), dw.as<float>() + dw.count());
  tensors.erase("dw");
  CHECK(output<Ref>(c, tensors_of(with), "dx") == output<Ref>(c, tensors, "dx"));
  CHECK(std::vector<float>(dw.as<float>(), dw.as<float>() + dw.count()) == before);
}

TEST_CASE("swiglu backward in place gives the same bits") {
  using Ref = ref::SwigluBackwardRef;
  const ref::OpCase c{"in place", {.n = 4, .f = 77}};
  Buffers apart = make_buffers(Ref::operands(c), case_values<Ref>(c));
  Buffers together = make_buffers(Ref::operands(c), case_values<Ref>(c));
  const std::vector<float> want = output<Ref>(c, tensors_of(apart), "dgate_up");
  ref::TensorMap tensors = tensors_of(together);
  tensors["dgate_up"] = tensors["gate_up"];
  CHECK(output<Ref>(c, tensors, "dgate_up") == want);
}

TEST_CASE("cross-entropy: loss alone has the same bits, ignored rows are exact zeros") {
  using Ref = ref::LinearCrossEntropyRef;
  const ref::OpCase c{"loss", {.n = 30, .c = 12, .v = 50}};
  Buffers full = make_buffers(Ref::operands(c), case_values<Ref>(c));
  const ref::TensorMap tensors = tensors_of(full);
  ref::TensorMap loss_only = tensors;
  loss_only.erase("dx");
  loss_only.erase("dw");
  const std::vector<float> alone = output<Ref>(c, loss_only, "loss");
  CHECK(output<Ref>(c, tensors, "loss") == alone);
  const float* dx = tensors.at("dx").as<float>();
  for (int64_t n = 2; n < 30; n += 3) {
    CHECK(alone[static_cast<size_t>(n)] == 0.0F);
    CHECK(std::all_of(dx + n * 12, dx + (n + 1) * 12, [](float g) { return g == 0.0F; }));
  }

  // A frozen w: the gradient of x has the same bits.
  const std::vector<float> want(dx, dx + 30 * 12);
  ref::TensorMap frozen = tensors;
  frozen.erase("dw");
  CHECK(output<Ref>(c, frozen, "dx") == want);

  // All targets ignored: nothing is added anywhere.
  Buffers idle = make_buffers(Ref::operands(c), case_values<Ref>(c));
  write_values(idle.at("targets"), DType::I32, std::vector<double>(30, kIgnoreTarget));
  const ref::TensorMap quiet = tensors_of(idle);
  const Tensor& dw = quiet.at("dw");
  const std::vector<float> before(dw.as<float>(), dw.as<float>() + dw.count());
  CHECK(output<Ref>(c, quiet, "dw") == before);
  CHECK(output<Ref>(c, quiet, "loss") == std::vector<float>(30, 0.0F));
}

TEST_CASE("cast rounds every element to the nearest bfloat16, ties to even") {
  const float inf = std::numeric_limits<float>::infinity();
  const Philox random(1, Stream::Test);
  for (const int64_t count : {0, 1, 9, 65537, 200001}) {
    for (const int threads : {1, 3}) {
      INFO(count << " elements, " << threads << " threads");
      GuardedBuffer x(DType::F32, {count}), y(DType::BF16, {count});
      auto* values = x.tensor().as<float>();
      for (int64_t i = 0; i < count; ++i) {
        values[i] = std::bit_cast<float>(
            static_cast<uint32_t>(random.below(1ULL << 32, static_cast<uint64_t>(i))));
      }
      const std::vector<float> special = {0.0F,      -0.0F,         inf,
                                          -inf,      std::nanf(""), 0x1.01p0F,
                                          0x1.03p0F, 0x1.010002p0F, 0x1.fffffep127F};
      std::copy_n(special.begin(), std::min<int64_t>(count, 9), values);
      TestContext context(0, threads);
      cast({.y = y.tensor(), .x = x.tensor()}, context);
      CHECK(y.intact());
      int64_t wrong = 0;
      for (int64_t i = 0; i < count; ++i) {
        wrong += y.tensor().as<BFloat16>()[i].bits == to_bfloat16(values[i]).bits ? 0 : 1;
      }
      CHECK(wrong == 0);
      if (count < 9) continue;
      const auto rounded = [&](int64_t i) { return to_float(y.tensor().as<BFloat16>()[i]); };
      CHECK(std::signbit(rounded(1)));
      CHECK(rounded(3) == -inf);
      CHECK(std::isnan(rounded(4)));
      CHECK(rounded(5) == 1.0F);
      CHECK(rounded(6) == 0x1.04p0F);
      CHECK(rounded(7) == 0x1.02p0F);
      CHECK(rounded(8) == inf);
    }
  }
}

TEST_CASE("tokens and targets outside the vocabulary are refused") {
  using Embed = ref::EmbeddingForwardRef;
  const ref::OpCase c = Embed::cases().front();
  for (const double bad : {-1.0, static_cast<double>(c.dims.v)}) {
    Buffers buffers = make_buffers(Embed::operands(c), case_values<Embed>(c));
    write_values(buffers.at("tokens"), DType::I32, {bad});
    CHECK_THROWS_AS(run_twin<Embed>(c, buffers, 2), BugError);
  }
  using Loss = ref::LinearCrossEntropyRef;
  const ref::OpCase l = Loss::cases().front();
  for (const double bad : {-2.0, static_cast<double>(l.dims.v)}) {
    Buffers buffers = make_buffers(Loss::operands(l), case_values<Loss>(l));
    write_values(buffers.at("targets"), DType::I32, {bad});
    CHECK_THROWS_AS(run_twin<Loss>(l, buffers, 2), BugError);
  }
}

TEST_CASE("adamw: an update that is not applied changes nothing; the first step is 1") {
  using Ref = ref::AdamWRef;
  ref::OpCase c{"refused", {.p = 1001}};
  c.real = DType::BF16;
  ref::ValueMap<double> values = case_values<Ref>(c);
  values["scalars"].back() = 0;
  Buffers buffers = make_buffers(Ref::operands(c), values);
  Buffers before = make_buffers(Ref::operands(c), values);
  run_twin<Ref>(c, buffers, 2);
  for (auto& [name, buffer] : buffers) CHECK(buffer.memory() == before.at(name).memory());
  CHECK_THROWS_AS(adamw_scalars(1e-3, 0.9, 0.95, 0), BugError);
}

TEST_CASE("adamw: ten steps stay with an fp64 loop, and the bf16 copy is the rounded parameter") {
  constexpr int64_t kCount = 1000;
  std::vector<float> param(kCount), m(kCount), v(kCount), grad(kCount), decay = {0.1F, 0.0F};
  std::vector<int64_t> segment_end = {400, kCount};
  std::vector<BFloat16> copy(kCount);
  const Philox random(5, Stream::Test);
  for (size_t i = 0; i < kCount; ++i) param[i] = static_cast<float>(random.normal(i));
  std::vector<double> p(param.begin(), param.end()), dm(kCount), dv(kCount);
  TestContext context;
  for (int64_t step = 1; step <= 10; ++step) {
    for (size_t i = 0; i < kCount; ++i) {
      grad[i] = static_cast<float>(random.normal(static_cast<uint64_t>(step) * kCount + i));
    }
    AdamWScalars scalars = adamw_scalars(1e-2, 0.9, 0.99, step);
    scalars.grad_scale = 0.25F;
    adamw({.param = view(param.data(), {kCount}),
           .m = view(m.data(), {kCount}),
           .v = view(v.data(), {kCount}),
           .grad = view(grad.data(), {kCount}),
           .copy_bf16 = view(copy.data(), {kCount}),
           .segment_end = view(segment_end.data(), {2}),
           .decay = view(decay.data(), {2}),
           .scalars = view(&scalars.lr, {kAdamWScalars}),
           .beta1 = 0.9F,
           .beta2 = 0.99F,
           .eps = 1e-8F},
          context);
    for (size_t i = 0; i < kCount; ++i) {
      const double g = 0.25 * static_cast<double>(grad[i]);
      dm[i] = 0.9 * dm[i] + 0.1 * g;
      dv[i] = 0.99 * dv[i] + 0.01 * g * g;
      const double mean = dm[i] / (1 - std::pow(0.9, step));
      const double square = dv[i] / (1 - std::pow(0.99, step));
      p[i] -= 1e-2 * (mean / (std::sqrt(square) + 1e-8) + (i < 400 ? 0.1 : 0.0) * p[i]);
    }
  }
  for (size_t i = 0; i < kCount; ++i) {
    // Ten steps of at most lr, each with a few roundings and beta1's own rounding to fp32.
    REQUIRE(std::abs(static_cast<double>(param[i]) - p[i]) <=
            10 * 2e-7 * std::max(1.0, std::abs(p[i])));
    REQUIRE(copy[i].bits == to_bfloat16(param[i]).bits);
  }
}

namespace {

/// One row with one query and one key head at `position`, rotated.
std::vector<float> rotated(std::vector<float> qkv, int position, RopeDirection direction) {
  const auto width = static_cast<int64_t>(qkv.size()) / 3;
  std::vector<float> frequencies = rope_frequencies(static_cast<int>(width), 10000, {});
  int32_t at = position;
  TestContext context;
  rope({.qkv = view(qkv.data(), {1, 3, width}),
        .positions = view(&at, {1}),
        .frequencies = view(frequencies.data(), {width / 2}),
        .heads = 1,
        .kv_heads = 1,
        .direction = direction},
       context);
  return qkv;
}

}  // namespace

TEST_CASE("rope: backward undoes forward, values stay, scores depend on the distance") {
  constexpr size_t kWidth = 64;
  std::vector<float> x(3 * kWidth);
  const Philox random(6, Stream::Test);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.normal(i));
  for (const int position : {0, 1, 77, 4095, 500000}) {
    const std::vector<float> there = rotated(x, position, RopeDirection::Forward);
    const std::vector<float> back = rotated(there, position, RopeDirection::Backward);
    // Two rotations of three roundings each, of numbers up to |(a, b)|.
    for (size_t i = 0; i < x.size(); ++i) REQUIRE(std::abs(back[i] - x[i]) < 12 * 0x1p-24 * 8);
    CHECK(std::equal(x.begin() + 2 * kWidth, x.end(), there.begin() + 2 * kWidth));
  }
  const auto score = [&](int query, int key) {
    const std::vector<float> q = rotated(x, query, RopeDirection::Forward);
    const std::vector<float> k = rotated(x, key, RopeDirection::Forward);
    double dot = 0;
    for (size_t i = 0; i < kWidth; ++i) {
      dot += static_cast<double>(q[i]) * static_cast<double>(k[kWidth + i]);
    }
    return dot;
  };
  // Angles up to 1000 carry 2^-15 of fp32 rounding each.
  CHECK(score(17, 5) == Approx(score(12, 0)).margin(1e-3));
  CHECK(score(1000, 900) == Approx(score(100, 0)).margin(1e-2));
  CHECK(std::abs(score(17, 5) - score(18, 5)) > 0.1);
}

// Made with transformers 5.24 (ROPE_INIT_FUNCTIONS["yarn"], fp32).
TEST_CASE("rope frequencies and attention factor of yarn") {
  RopeScaling yarn;
  yarn.type = "yarn";
  yarn.factor = 4;
  yarn.original_context = 256;
  const auto expect = [](const RopeScaling& scaling, int head_dim, double theta,
                         const std::vector<double>& want, double attention_factor) {
    const auto found = rope_frequencies(head_dim, theta, scaling);
    REQUIRE(found.size() == want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      CAPTURE(i);
      CHECK(static_cast<double>(found[i]) == Approx(want[i]).epsilon(1e-6));
    }
    CHECK(rope_attention_factor(scaling) == Approx(attention_factor).epsilon(1e-12));
  };
  const std::vector<double> whole = {1,      0.25693506,     0.0625,  0.0138349654,
                                     0.0025, 0.000790569466, 0.00025, 7.90569466e-05};
  expect(yarn, 16, 10000, whole, 1.138629436111989);
  yarn.attention_factor = 1.25;
  expect(yarn, 16, 10000, whole, 1.25);
  yarn.attention_factor = 0;
  yarn.truncate = false;
  yarn.beta_fast = 16;
  yarn.beta_slow = 2;
  expect(yarn, 16, 10000,
         {1, 0.291525632, 0.0506643951, 0.00790569466, 0.0025, 0.000790569466, 0.00025,
          7.90569466e-05},
         1.138629436111989);

  RopeScaling weighted;
  weighted.type = "yarn";
  weighted.factor = 8;
  weighted.original_context = 4096;
  weighted.mscale = 0.7;
  weighted.mscale_all_dim = 1.3;
  expect(weighted, 32, 500000,
         {1, 0.440366626, 0.193922758, 0.0853971019, 0.0310249757, 0.0107642869, 0.00346401567,
          0.000963433762, 0.000176776681, 7.78465546e-05, 3.42810235e-05, 1.50962178e-05,
          6.64786967e-06, 2.92749974e-06, 1.28917316e-06, 5.6770881e-07},
         0.9017839869787123);

  yarn.beta_slow = 20;  // above beta_fast
  CHECK_THROWS_WITH(rope_frequencies(16, 10000, yarn), ContainsSubstring("beta_slow"));
  yarn.beta_slow = 1;
  yarn.mscale = -1;
  CHECK_THROWS_WITH(rope_frequencies(16, 10000, yarn), ContainsSubstring("mscale"));
  yarn.mscale = 0;
  yarn.original_context = 0;
  CHECK_THROWS_AS(rope_frequencies(16, 10000, yarn), UserError);
}

TEST_CASE("rope frequencies: none, linear and llama3") {
  const auto plain = rope_frequencies(8, 10000, {});
  REQUIRE(plain.size() == 4);
  CHECK(plain[0] == 1.0F);
  CHECK(plain[1] == Approx(0.1));
  CHECK(plain[2] == Approx(0.01));
  RopeScaling linear;
  linear.type = "linear";
  linear.factor = 4;
  CHECK(rope_frequencies(8, 10000, linear)[1] == Approx(0.025));

  // Llama 3.1 (theta 500000, factor 8, 1 to 4, 8192), by wavelength.
  RopeScaling llama;
  llama.type = "llama3";
  llama.factor = 8;
  const auto scaled = rope_frequencies(128, 500000, llama);
  int kept = 0, stretched = 0, blended = 0;
  for (int i = 0; i < 64; ++i) {
    const double base = std::exp(-std::log(500000.0) * i / 64);
    const double turns = 8192 * base / (2 * std::numbers::pi);  // inside the original context
    double want = base / 8;
    if (turns > 4) {
      want = base;
      ++kept;
    } else if (turns < 1) {
      ++stretched;
    } else {
      const double smooth = (turns - 1) / 3;
      want = base * (smooth + (1 - smooth) / 8);
      ++blended;
    }
    CHECK(static_cast<double>(scaled[static_cast<size_t>(i)]) == Approx(want).epsilon(1e-6));
  }
  CHECK(kept > 20);
  CHECK(blended > 3);
  CHECK(stretched > 20);

  RopeScaling unknown;
  unknown.type = "dynamic";
  CHECK_THROWS_WITH(rope_frequencies(8, 10000, unknown), ContainsSubstring("'dynamic'"));
  llama.low_freq_factor = 5;
  CHECK_THROWS_AS(rope_frequencies(8, 10000, llama), UserError);
}

namespace {

/// An op that takes 128 bytes of scratch and declares `declared` of them.
struct Greedy {
  size_t declared;
};
void check(const Greedy&) {}
Cost cost(const Greedy&) {
  return {};
}
size_t scratch_bytes(const Greedy& a, int) {
  return a.declared;
}
void greedy_cpu(const Greedy&, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  ctx.scratch.tensor(DType::U8, {128});
}
constexpr Op<Greedy> kGreedy{"greedy", &greedy_cpu, nullptr};
constexpr Op<Greedy> kAbsent{"absent", nullptr, nullptr};

}  // namespace

TEST_CASE("an op without a kernel is refused by name, and so is one beyond its scratch") {
  TestContext context(1024, 1);
  CHECK_NOTHROW(kGreedy({128}, context));
  TestContext fresh(1024, 1);
  CHECK_THROWS_WITH(kGreedy({64}, fresh), ContainsSubstring("greedy took 128 bytes"));
  CHECK_THROWS_WITH(kAbsent({0}, context), ContainsSubstring("absent: no kernel for cpu"));
  TestContext plan(0, 1, {Device::Kind::Plan, 0});
  kGreedy({100}, plan);
  CHECK(plan.arena.peak() == 128);
  CHECK(plan.arena.used() == 0);
}

}  // namespace pivot::test
