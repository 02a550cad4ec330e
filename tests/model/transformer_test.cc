#include "src/model/transformer.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cross_entropy/cross_entropy.h"
#include "src/base/philox.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

constexpr size_t kArenaBytes = size_t{64} << 20;

// A small model with its weights, gradients and one packed batch of three documents.
struct Fixture {
  ModelConfig config;
  std::vector<float> weights, grads, frequencies;
  std::vector<int32_t> tokens, targets, positions, offsets = {0, 9, 10, 40};
  Model model;
  int64_t valid = 0;

  explicit Fixture(const ModelConfig& c, const char* attention, int threads = 2)
      : config(c), context(kArenaBytes, threads) {
    const auto count = static_cast<size_t>(parameter_count(c));
    weights.resize(count);
    grads.resize(count);
    init_params(c, view(weights.data(), {parameter_count(c)}), 3, context);
    // Larger than the usual 0.02 so that every nonlinearity is at work.
    for (float& w : weights) {
      if (w != 1.0F) w *= 8;
    }
    frequencies = rope_frequencies(c.head_dim, c.rope_theta, c.rope_scaling);
    model.config = c;
    model.params = bind_params(c, view(weights.data(), {parameter_count(c)}));
    model.rope_frequencies = view(frequencies.data(), {static_cast<int64_t>(frequencies.size())});
    model.attention = parse_layer_policies(attention, c.layers);
    const Philox random(11, Stream::Test);
    const int32_t rows = offsets.back();
    for (int32_t i = 0, begin = 0; i < rows; ++i) {
      for (const int32_t o : offsets) begin = o <= i ? o : begin;
      positions.push_back(i - begin);
      tokens.push_back(static_cast<int32_t>(
          random.below(static_cast<uint64_t>(c.vocab), static_cast<uint64_t>(i))));
      const bool last = std::count(offsets.begin(), offsets.end(), i + 1) > 0;
      targets.push_back(last || i % 5 == 2 ? kIgnoreTarget : (tokens.back() + 1) % 7);
      valid += targets.back() >= 0 ? 1 : 0;
    }
  }

  ModelInput input() {
    const auto rows = static_cast<int64_t>(tokens.size());
    return {view(tokens.data(), {rows}), view(positions.data(), {rows}),
            view(offsets.data(), {static_cast<int64_t>(offsets.size())}), 30};
  }

  std::vector<float> backward(Recompute recompute) {
    std::vector<float> loss(tokens.size(), NAN);
    std::fill(grads.begin(), grads.end(), 0.0F);
    Gradients g{bind_params(config, view(grads.data(), {parameter_count(config)})), {}};
    forward_backward(model, input(), view(targets.data(), {static_cast<int64_t>(targets.size())}),
                     1.0F / static_cast<float>(valid), recompute, g,
                     view(loss.data(), {static_cast<int64_t>(loss.size())}), nullptr, context);
    return loss;
  }

  std::vector<float> forward() {
    std::vector<float> loss(tokens.size(), NAN);
    forward_loss(model, input(), view(targets.data(), {static_cast<int64_t>(targets.size())}),
                 view(loss.data(), {static_cast<int64_t>(loss.size())}), nullptr, context);
    return loss;
  }

  double mean_loss() {
    double sum = 0;
    for (const float l : forward()) sum += l;
    return sum / static_cast<double>(valid);
  }

  test::TestContext context;
};

ModelConfig tiny() {
  ModelConfig c;
  c.vocab = 61;
  c.dim = 24;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn_dim = 40;
  return c;
}

ModelConfig variant(bool tied, bool bias, bool qk_norm) {
  ModelConfig c = tiny();
  c.tied_embeddings = tied;
  c.qkv_bias = bias;
  c.qk_norm = qk_norm;
  return c;
}

}  // namespace

// Fifth-order difference along a random direction of each parameter tensor. Truncation is O(h^4);
// the rounding of the mean loss (about 1e-7 of a loss near 4, over 31 tokens) divided by h bounds
// the rest.
TEST_CASE("gradients agree with differences of the loss along every parameter") {
  for (const ModelConfig& c :
       {variant(true, false, false), variant(false, true, false), variant(true, true, true)}) {
    Fixture f(c, "dense");
    f.backward(Recompute::None);
    const std::vector<float> analytic = f.grads;
    const std::vector<float> origin = f.weights;
    for (const ParamInfo& p : list_params(c)) {
      const auto begin = static_cast<size_t>(p.offset);
      const auto count = static_cast<size_t>(p.shape.count());
      std::vector<double> direction(count);
      double norm = 0, slope = 0;
      const Philox random(5, Stream::Test, 1);
      for (size_t i = 0; i < count; ++i) {
        // Half along the gradient, half random, so that the slope is not lost in rounding.
        direction[i] = random.normal(begin + i) * 1e-3 + analytic[begin + i];
        norm += direction[i] * direction[i];
      }
      norm = std::sqrt(norm);
      for (size_t i = 0; i < count; ++i) {
        direction[i] /= norm;
        slope += direction[i] * analytic[begin + i];
      }
      const double h = 0.02;
      const auto at = [&](double step) {
        for (size_t i = 0; i < count; ++i) {
          f.weights[begin + i] = static_cast<float>(origin[begin + i] + step * direction[i]);
        }
        const double loss = f.mean_loss();
        std::copy(origin.begin(), origin.end(), f.weights.begin());
        return loss;
      };
      const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      INFO(p.name << " slope " << slope << " numeric " << numeric);
      CHECK(std::abs(numeric - slope) < 1e-4 + 2e-3 * std::abs(slope));
    }
  }
}

TEST_CASE("recomputation changes memory, not bits") {
  for (const char* attention : {"dense", "topk:k=4", "0:dense;1:topk:10%,min=2"}) {
    Fixture f(variant(true, false, true), attention);
    const std::vector<float> loss = f.backward(Recompute::None);
    const std::vector<float> grads = f.grads;
    const size_t memory_none = f.context.arena.peak();
    for (const Recompute policy : {Recompute::Selective, Recompute::Full}) {
      Fixture other(variant(true, false, true), attention);
      CHECK(other.backward(policy) == loss);
      CHECK(other.grads == grads);
      CHECK(other.context.arena.peak() < memory_none);
    }
    CHECK(f.forward() == loss);
  }
}

TEST_CASE("the plan needs exactly the memory of the step") {
  for (const Recompute policy : {Recompute::None, Recompute::Selective, Recompute::Full}) {
    Fixture f(tiny(), "topk:k=4");
    f.backward(policy);
    test::TestContext plan(0, 2, {Device::Kind::Plan, 0});
    Model model = f.model;
    const auto null = [](Tensor t) {
      t.data = nullptr;
      return t;
    };
    ModelInput input = f.input();
    input = {null(input.tokens), null(input.positions), null(input.doc_offsets), 30};
    const auto rows = static_cast<int64_t>(f.tokens.size());
    const Tensor flat{nullptr, DType::F32, {parameter_count(f.config)}};
    model.params = bind_params(f.config, flat);
    Gradients grads{bind_params(f.config, flat), {}};
    forward_backward(model, input, {nullptr, DType::I32, {rows}}, 1.0F, policy, grads,
                     {nullptr, DType::F32, {rows}}, nullptr, plan);
    CHECK(plan.arena.peak() == f.context.arena.peak());
    CHECK(plan.ledger.total.flops == f.context.ledger.total.flops);
    CHECK(plan.ledger.total.flops > 0);
  }
}

TEST_CASE("threads do not change a bit") {
  Fixture one(tiny(), "topk:k=4", 1), three(tiny(), "topk:k=4", 3);
  CHECK(one.backward(Recompute::None) == three.backward(Recompute::None));
  CHECK(one.grads == three.grads);
}

TEST_CASE("a document does not see its neighbours") {
  Fixture f(tiny(), "topk:k=4");
  const std::vector<float> before = f.forward();
  for (int i = 0; i < 9; ++i) f.tokens[static_cast<size_t>(i)] = 1;  // only the first document
  const std::vector<float> after = f.forward();
  CHECK(std::equal(before.begin() + 9, before.end(), after.begin() + 9));
  CHECK_FALSE(std::equal(before.begin(), before.begin() + 9, after.begin()));
}

TEST_CASE("hidden states and the QKV sink see what the loss saw") {
  Fixture f(tiny(), "dense");
  int calls = 0;
  const Arena::Scope scope = f.context.arena.scope();
  const Tensor hidden =
      forward_hidden(f.model, f.input(), f.context, [&](int layer, const Tensor& qkv) {
        CHECK(layer == calls++);
        CHECK(qkv.shape == Shape{40, 8, 8});
      });
  CHECK(calls == 2);
  // Loss of the first scored token from the hidden state, in double.
  const float* h = hidden.as<float>();
  const float* w = f.model.params.head.as<float>();
  double best = -1e30, sum = 0, target = 0;
  std::vector<double> z(61);
  for (size_t v = 0; v < 61; ++v) {
    for (size_t c = 0; c < 24; ++c) z[v] += static_cast<double>(h[c]) * w[v * 24 + c];
    best = std::max(best, z[v]);
  }
  for (const double x : z) sum += std::exp(x - best);
  target = z[static_cast<size_t>(f.targets[0])];
  CHECK(f.forward()[0] == Approx(best + std::log(sum) - target).epsilon(1e-5));
}

}  // namespace pivot
