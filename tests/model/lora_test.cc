/// Adapters: gradients against differences of the loss and against the chain rule, the merged
/// model's bits, memory as planned.
#include "src/model/lora.h"

#include <cmath>
#include <vector>

#include "kernels/cross_entropy/cross_entropy.h"
#include "src/base/check.h"
#include "src/base/philox.h"
#include "src/model/transformer.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot::test {
namespace {

constexpr size_t kArenaBytes = size_t{64} << 20;

ModelConfig small(bool bias = false, bool qk_norm = false) {
  ModelConfig c;
  c.vocab = 61;
  c.dim = 24;
  c.layers = 2;
  c.heads = 6;
  c.kv_heads = 2;  // GQA 3
  c.head_dim = 8;
  c.ffn_dim = 40;
  c.qkv_bias = bias;
  c.qk_norm = qk_norm;
  return c;
}

LoraConfig lora_of(int64_t rank, std::vector<std::string> targets = {"all"}) {
  LoraConfig lora;
  lora.rank = rank;
  lora.alpha = 5;
  lora.targets = std::move(targets);
  return lora;
}

int64_t count_of(const std::vector<ParamInfo>& list) {
  return list.back().offset + list.back().shape.count();
}

// A model with adapters whose B is not zero, and one packed batch of three documents.
struct Adapted {
  ModelConfig config;
  LoraConfig lora;
  TestContext context;
  std::vector<float> weights, adapters, grads, frequencies;
  std::vector<int32_t> tokens, targets, positions, offsets = {0, 9, 10, 40};
  Model model;

  Adapted(const ModelConfig& c, const LoraConfig& l, const char* attention = "topk:k=4")
      : config(c), lora(l), context(kArenaBytes, 2) {
    weights.resize(static_cast<size_t>(parameter_count(c)));
    init_params(c, flat(weights), 3, context);
    for (float& w : weights) w = w == 1.0F ? w : 8 * w;  // every nonlinearity at work
    const std::vector<ParamInfo> list = list_adapters(c, l);
    adapters.resize(static_cast<size_t>(count_of(list)));
    grads.resize(adapters.size());
    init_params(list, c, flat(adapters), 4, context);
    const Philox noise(9, Stream::Test);
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (adapters[i] == 0.0F) adapters[i] = static_cast<float>(0.1 * noise.normal(i));
    }
    frequencies = rope_frequencies(c.head_dim, c.rope_theta, c.rope_scaling);
    model.config = c;
    model.params = bind_params(c, flat(weights));
    model.rope_frequencies = flat(frequencies);
    model.attention = parse_layer_policies(attention, c.layers);
    model.lora = {l, bind_adapters(c, l, flat(adapters)), bind_adapters(c, l, flat(adapters))};
    const Philox random(11, Stream::Test);
    for (int32_t i = 0, begin = 0; i < offsets.back(); ++i) {
      for (const int32_t o : offsets) begin = o <= i ? o : begin;
      positions.push_back(i - begin);
      tokens.push_back(static_cast<int32_t>(random.below(61, static_cast<uint64_t>(i))));
      targets.push_back(i % 5 == 2 || i == 39 ? kIgnoreTarget : (tokens.back() + 1) % 7);
    }
  }

  static Tensor flat(std::vector<float>& v) {
    return view(v.data(), {static_cast<int64_t>(v.size())});
  }
  ModelInput input() {
    const auto rows = static_cast<int64_t>(tokens.size());
    return {view(tokens.data(), {rows}), view(positions.data(), {rows}),
            view(offsets.data(), {static_cast<int64_t>(offsets.size())}), 30};
  }
  Tensor target_tensor() { return view(targets.data(), {static_cast<int64_t>(targets.size())}); }

  std::vector<float> backward(Recompute recompute) {
    std::vector<float> loss(tokens.size(), NAN);
    std::fill(grads.begin(), grads.end(), 0.0F);
    Gradients g{{}, bind_adapters(config, lora, flat(grads))};
    forward_backward(model, input(), target_tensor(), 1.0F, recompute, g, flat(loss), nullptr,
                     context);
    return loss;
  }
  std::vector<float> forward() {
    std::vector<float> loss(tokens.size(), NAN);
    forward_loss(model, input(), target_tensor(), flat(loss), nullptr, context);
    return loss;
  }
  double loss() {
    double sum = 0;
    for (const float l : forward()) sum += l;
    return sum;
  }
};

TEST_CASE("lora: gradients agree with differences of the loss along every adapter") {
  for (const ModelConfig& c : {small(), small(true), small(true, true)}) {
    Adapted f(c, lora_of(3), "dense");
    f.backward(Recompute::None);
    const std::vector<float> analytic = f.grads, origin = f.adapters;
    for (const ParamInfo& p : list_adapters(c, f.lora)) {
      const auto begin = static_cast<size_t>(p.offset);
      const auto count = static_cast<size_t>(p.shape.count());
      double norm = 0;
      for (size_t i = 0; i < count; ++i) norm += std::pow(analytic[begin + i], 2);
      norm = std::sqrt(norm);
      REQUIRE(norm > 0);
      const auto at = [&](double step) {
        for (size_t i = 0; i < count; ++i) {
          f.adapters[begin + i] =
              static_cast<float>(origin[begin + i] + step * analytic[begin + i] / norm);
        }
        const double loss = f.loss();
        f.adapters = origin;
        return loss;
      };
      // Fifth order; along the gradient the slope is its norm.
      const double h = 0.02;
      const double numeric = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      CAPTURE(p.name, numeric, norm);
      CHECK(std::abs(numeric - norm) < 3e-3 + 2e-3 * norm);
    }
  }
}

TEST_CASE("lora: a step is full fine-tuning's, restricted: dB = s dW A^T, dA = s B^T dW") {
  Adapted f(small(true, true), lora_of(3));
  const std::vector<float> loss = f.backward(Recompute::None);
  // The full gradient of the merged weights, by the ordinary path.
  std::vector<float> merged(f.weights.size()), full(f.weights.size());
  Params out = bind_params(f.config, Adapted::flat(merged));
  merge_adapters(f.model, out, f.context);
  Model plain = f.model;
  plain.lora = {};
  plain.params = out;
  Gradients g{bind_params(f.config, Adapted::flat(full)), {}};
  std::vector<float> plain_loss(loss.size());
  forward_backward(plain, f.input(), f.target_tensor(), 1.0F, Recompute::None, g,
                   Adapted::flat(plain_loss), nullptr, f.context);
  CHECK(plain_loss == loss);

  const auto adapters = bind_adapters(f.config, f.lora, Adapted::flat(f.adapters));
  const auto got = bind_adapters(f.config, f.lora, Adapted::flat(f.grads));
  const double s = f.lora.scale();
  for (size_t layer = 0; layer < 2; ++layer) {
    for (size_t k = 0; k < adapters[layer].size(); ++k) {
      const Adapter& w = adapters[layer][k];
      const Tensor dw_rows = rows_of(g.params.layer[layer], f.config, w.projection);
      const int64_t outputs = dw_rows.dim(0), inputs = dw_rows.dim(1), rank = 3;
      const auto *dw = dw_rows.as<float>(), *a = w.a.as<float>(), *b = w.b.as<float>();
      double worst = 0, largest = 0;
      const auto compare = [&](double want, double is) {
        worst = std::max(worst, std::abs(want - is));
        largest = std::max(largest, std::abs(want));
      };
      for (int64_t r = 0; r < rank; ++r) {
        for (int64_t i = 0; i < inputs; ++i) {
          double sum = 0;
          for (int64_t o = 0; o < outputs; ++o) sum += double{b[o * rank + r]} * dw[o * inputs + i];
          compare(s * sum, got[layer][k].a.as<float>()[r * inputs + i]);
        }
        for (int64_t o = 0; o < outputs; ++o) {
          double sum = 0;
          for (int64_t i = 0; i < inputs; ++i)
            sum += double{dw[o * inputs + i]} * a[r * inputs + i];
          compare(s * sum, got[layer][k].b.as<float>()[o * rank + r]);
        }
      }
      CAPTURE(layer, to_string(w.projection), worst, largest);
      CHECK(largest > 0);
      CHECK(worst <= 1e-5 * largest);  // fp32 sums of at most 80 terms
    }
  }
}

TEST_CASE("lora: recomputation changes no bit, forward passes agree, plans are exact") {
  for (const auto& targets : std::vector<std::vector<std::string>>{
           {"all"}, {"q_proj", "v_proj"}, {"k_proj", "down_proj"}, {"up_proj"}}) {
    Adapted f(small(true, true), lora_of(2, targets));
    const std::vector<float> loss = f.backward(Recompute::None);
    const std::vector<float> grads = f.grads;
    CHECK(f.forward() == loss);
    for (const Recompute recompute : {Recompute::None, Recompute::Selective, Recompute::Full}) {
      CAPTURE(targets, to_string(recompute));
      Adapted other(small(true, true), lora_of(2, targets));
      CHECK(other.backward(recompute) == loss);
      CHECK(other.grads == grads);

      TestContext plan(0, 2, {Device::Kind::Plan, 0});
      Model model = other.model;
      const Tensor nothing{nullptr, DType::F32, {parameter_count(f.config)}};
      const Tensor none{nullptr, DType::F32, {static_cast<int64_t>(f.adapters.size())}};
      model.params = bind_params(f.config, nothing);
      const auto views = bind_adapters(f.config, f.lora, none);
      model.lora = {f.lora, views, views};
      const auto null = [](Tensor t) {
        t.data = nullptr;
        return t;
      };
      const ModelInput in = other.input();
      Gradients g{{}, views};
      forward_backward(model,
                       {null(in.tokens), null(in.positions), null(in.doc_offsets), in.max_document},
                       null(other.target_tensor()), 1.0F, recompute, g, {nullptr, DType::F32, {40}},
                       nullptr, plan);
      CHECK(plan.arena.peak() == other.context.arena.peak());
      CHECK(plan.ledger.total.flops == other.context.ledger.total.flops);
    }
  }
}

TEST_CASE("lora: with B zero the model is the base, and only B learns at first") {
  Adapted f(small(), lora_of(4));
  const std::vector<ParamInfo> list = list_adapters(f.config, f.lora);
  init_params(list, f.config, Adapted::flat(f.adapters), 4, f.context);
  Adapted base(small(), lora_of(4));
  base.model.lora = {};
  CHECK(f.forward() == base.forward());
  f.backward(Recompute::None);
  for (const ParamInfo& p : list) {
    float largest = 0, weight = 0;
    for (int64_t i = p.offset; i < p.offset + p.shape.count(); ++i) {
      largest = std::max(largest, std::abs(f.grads[static_cast<size_t>(i)]));
      weight = std::max(weight, std::abs(f.adapters[static_cast<size_t>(i)]));
    }
    CAPTURE(p.name);
    const bool is_a = p.name.ends_with("lora_a");
    CHECK((largest > 0) == !is_a);
    // Uniform within 1 / sqrt(I): the largest of many comes close.
    const float bound = is_a ? 1 / std::sqrt(static_cast<float>(p.shape[1])) : 0.0F;
    CHECK(weight <= bound);
    CHECK(weight >= 0.9F * bound);
  }
}

TEST_CASE("lora: targets and sizes are named when they are wrong") {
  CHECK(lora_targets(lora_of(1)).size() == 7);
  CHECK(lora_targets(lora_of(1, {"v_proj", "q_proj", "v_proj"})) ==
        std::vector<Projection>{Projection::Q, Projection::V});
  CHECK_THROWS_WITH(validate(lora_of(1, {"qproj"})), ContainsSubstring("did you mean 'q_proj'"));
  CHECK_THROWS_WITH(validate(lora_of(1, {})), ContainsSubstring("lora.targets"));
  CHECK_THROWS_WITH(validate(lora_of(-1)), ContainsSubstring("lora.rank"));
  LoraConfig lora = lora_of(8);
  lora.alpha = 0;
  CHECK(lora.scale() == 2);
}

}  // namespace
}  // namespace pivot::test
