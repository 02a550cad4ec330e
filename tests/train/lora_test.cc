/// Runs that train adapters: what is frozen, what is saved, exact resumption, memory as planned.
#include <cmath>
#include <filesystem>

#include "checkpoints/adapters.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/train/fake_source.h"
#include "tests/train/tiny_run.h"

namespace pivot::test {
namespace {

TrainOptions lora_options(const TempDir& dir, const char* name) {
  TrainOptions o = tiny_options(dir / name);
  o.init = "base";
  o.steps = 20;
  o.optim.lr = 1e-2;
  o.lora.rank = 4;
  return o;
}

struct Result {
  std::vector<float> adapters;
  double loss = 0;
};

Result run(const TrainOptions& o, const FakeSource& source, int64_t stop_after = 0) {
  const MemoryLoader loader;
  TrainInputs inputs = tiny_inputs(loader);
  inputs.init = &source;
  Trainer* running = nullptr;
  TrainCallbacks callbacks;
  callbacks.stop = [&] { return running->steps_done() == stop_after; };
  Trainer trainer(o, inputs, callbacks);
  running = &trainer;
  trainer.run();
  return {values_of(trainer.weights())};
}

struct Saved {
  CheckpointInfo info;
  std::vector<float> weights;
  explicit Saved(const std::string& checkpoint) : info(read_checkpoint_info(checkpoint)) {
    weights.resize(static_cast<size_t>(parameter_count(info.model)));
    read_checkpoint_tensors(checkpoint, info.model,
                            view(weights.data(), {parameter_count(info.model)}), {}, {});
  }
};

TEST_CASE("lora run: checkpoints hold base + s B A as any model, and the adapters beside it") {
  log::set_level(log::Level::Error);
  const TempDir dir;
  ModelConfig config = tiny_model();
  config.qkv_bias = true;
  const FakeSource source(config);
  TrainOptions o = lora_options(dir, "run");
  o.lora.targets = {"q_proj", "v_proj", "o_proj", "up_proj"};
  const Result result = run(o, source);

  const std::string checkpoint = find_checkpoint(o.output);
  const Saved saved(checkpoint);
  REQUIRE(has_adapters(checkpoint));
  const AdapterInfo info = read_adapter_info(checkpoint);
  CHECK(info.base == "base");
  CHECK(info.base_fingerprint.size() == 16);
  CHECK(info.lora.effective_alpha() == 8);
  CHECK(lora_targets(info.lora) == lora_targets(o.lora));

  const auto find = [&](const std::string& name) {
    for (const ParamInfo& p : list_adapters(config, o.lora)) {
      if (p.name == name) return result.adapters.data() + p.offset;
    }
    return static_cast<const float*>(nullptr);
  };
  std::vector<float> expected = source.weights;
  const Params want = bind_params(config, view(expected.data(), {parameter_count(config)}));
  for (int layer = 0; layer < config.layers; ++layer) {
    for (const Projection p : lora_targets(o.lora)) {
      const std::string prefix = fmt::format("layers.{}.{}.", layer, to_string(p));
      const float *a = find(prefix + "lora_a"), *b = find(prefix + "lora_b");
      const Tensor w = rows_of(want.layer[static_cast<size_t>(layer)], config, p);
      for (int64_t row = 0; row < w.dim(0); ++row) {
        for (int64_t i = 0; i < w.dim(1); ++i) {
          double sum = 0;
          for (int64_t r = 0; r < 4; ++r) sum += double{b[row * 4 + r]} * a[r * w.dim(1) + i];
          w.as<float>()[row * w.dim(1) + i] += static_cast<float>(2 * sum);
        }
      }
    }
  }
  for (const ParamInfo& p : list_params(config)) {
    double worst = 0, moved = 0;
    for (int64_t j = p.offset; j < p.offset + p.shape.count(); ++j) {
      const auto i = static_cast<size_t>(j);
      worst = std::max(worst, std::abs(double{expected[i]} - saved.weights[i]));
      moved = std::max(moved, std::abs(double{source.weights[i]} - saved.weights[i]));
    }
    CAPTURE(p.name, worst, moved);
    const bool adapted = p.name.ends_with("qkv.weight") || p.name.ends_with("attn_out.weight") ||
                         p.name.ends_with("gate_up.weight");
    CHECK((moved > 1e-3) == adapted);
    CHECK((moved == 0) == !adapted);
    CHECK(worst <= 1e-6);  // five terms of about 0.1 in fp32
  }
  // Rows of a fused matrix without an adapter stay as they are.
  const Params got = bind_params(
      config, view(const_cast<float*>(saved.weights.data()), {parameter_count(config)}));
  const Tensor k = rows_of(got.layer[1], config, Projection::K);
  const Tensor k_base = rows_of(want.layer[1], config, Projection::K);
  CHECK(values_of(k) == values_of(k_base));
}

TEST_CASE("lora run: resuming is exact, and only on its base") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  const FakeSource source(tiny_model());
  const Result straight = run(lora_options(dir, "straight"), source);
  TrainOptions o = lora_options(dir, "pieces");
  for (const int64_t stop : {1, 7, 13}) run(o, source, stop);
  o.threads = 1;
  o.recompute = "full";
  CHECK(run(o, source).adapters == straight.adapters);

  const FakeSource other(tiny_model(), 10);
  o.steps = 21;
  CHECK_THROWS_WITH(run(o, other), ContainsSubstring("is not the model"));
  o.lora.rank = 5;
  CHECK_THROWS_WITH(run(o, source), ContainsSubstring("lora.rank was 4, is 5"));
  o.lora.rank = 4;
  o.init = "moved/base";
  CHECK_NOTHROW(run(o, source));
}

TEST_CASE("lora run: memory is what the plan says, and far below full fine-tuning's") {
  log::set_level(log::Level::Error);
  const MemoryLoader loader, held_out;
  ModelConfig config = tiny_model();
  config.layers = 4;
  const FakeSource source(config);
  for (const char* recompute : {"none", "selective", "full"}) {
    CAPTURE(recompute);
    const TempDir dir;
    TrainOptions o = lora_options(dir, "run");
    o.model = config;
    o.recompute = recompute;
    o.sample.every = "50%";
    o.data.validation = {"memory"};
    TrainInputs inputs = tiny_inputs(loader, &held_out);
    inputs.init = &source;
    // A sample sees the adapters in ordinary weights.
    int samples = 0;
    TrainCallbacks callbacks;
    callbacks.sample = [&](const Model& model, ThreadPool&) {
      CHECK_FALSE(model.lora.on());
      CHECK(values_of(model.params.embed) ==
            std::vector<float>(source.weights.begin(), source.weights.begin() + 40 * 32));
      CHECK(values_of(model.params.layer[3].down) !=
            values_of(bind_params(config, view(const_cast<float*>(source.weights.data()),
                                               {parameter_count(config)}))
                          .layer[3]
                          .down));
      ++samples;
      return std::vector<TextSample>{{"prompt", "text"}};
    };
    Trainer trainer(o, inputs, callbacks);
    trainer.run();
    CHECK(samples == 2);
    const MemoryPlan& m = trainer.plan().memory;
    const auto base = static_cast<size_t>(parameter_count(config));
    const auto adapters = static_cast<size_t>(trainer.plan().trained);
    CHECK(adapters == values_of(trainer.weights()).size());
    CHECK(m.parameters == 4 * (base + adapters));
    CHECK(m.gradients == 4 * adapters);
    CHECK(m.moments == 8 * adapters);
    CHECK(m.merged == 4 * base);
    CHECK(trainer.arena_peak() == m.arena());

    TrainOptions full = o;
    full.lora.rank = 0;
    ThreadPool pool(2);
    const RunPlan whole = plan_run(full, pool);
    CHECK(m.gradients < whole.memory.gradients / 2);
    CHECK(trainer.plan().checkpoint_bytes < whole.checkpoint_bytes);
  }
}

TEST_CASE("lora run: without a model to start from it is refused") {
  const MemoryLoader loader;
  TrainOptions o = tiny_options("unused");
  o.lora.rank = 8;
  CHECK_THROWS_WITH(Trainer(o, tiny_inputs(loader)), ContainsSubstring("needs init"));
}

}  // namespace
}  // namespace pivot::test
