/// Runs that start from a model, last epochs, and keep their best weights.
#include <cmath>
#include <filesystem>
#include <sstream>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/train/fake_source.h"
#include "tests/train/tiny_run.h"
#include "train/init_model.h"
#include "train/resume.h"
#include "train/setup.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::vector<Json> records(const std::string& run, const std::string& kind) {
  std::vector<Json> found;
  std::istringstream text(read_file(run + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    Json object = Json::parse(line);
    if (object["kind"] == kind) found.push_back(std::move(object));
  }
  return found;
}

// The model has two padding rows beyond the tokenizer's 40.
ModelConfig foreign_model() {
  ModelConfig c = tiny_model(42);
  c.heads = 3;
  c.qkv_bias = true;
  c.rope_theta = 5e5;
  c.tied_embeddings = false;
  return c;
}

TrainOptions options_from(const TempDir& dir, const char* name) {
  TrainOptions o = tiny_options(dir / name);
  o.model = {};
  o.init = "base";
  o.steps = 6;
  return o;
}

TrainInputs inputs_from(const Loader& loader, const ModelSource& source,
                        const Loader* validation = nullptr) {
  TrainInputs inputs = tiny_inputs(loader, validation);
  inputs.init = &source;
  return inputs;
}

TEST_CASE("init: the weights and the configuration of step 0 are the source's, bit for bit") {
  log::set_level(log::Level::Error);
  const TempDir dir;
  const MemoryLoader loader;
  const FakeSource source(foreign_model());
  Trainer trainer(options_from(dir, "run"), inputs_from(loader, source));
  CHECK(values_of(trainer.weights()) == source.weights);
  CHECK(trainer.options().model.heads == 3);
  CHECK(trainer.options().model.vocab == 42);
  trainer.run();
  CHECK(values_of(trainer.weights()) != source.weights);

  const CheckpointInfo info = read_checkpoint_info(find_checkpoint(dir / "run"));
  CHECK(info.model.rope_theta == 5e5);
  CHECK(info.config_toml.find("init = \"base\"") != std::string::npos);
}

TEST_CASE("init: keys that contradict the source are refused by name; the context is free") {
  const FakeSource source(foreign_model());
  TrainOptions o = tiny_options("unused");
  o.model = {};
  o.init = "base";
  std::vector<OptionField> fields = option_fields(o);
  set_override(fields, "model.heads=3");  // as there
  set_override(fields, "model.context=64");
  adopt_model(o, source.info());
  CHECK(o.model.context == 64);
  CHECK(o.model.qkv_bias);
  CHECK(o.model.dim == 32);
  set_override(fields, "model.layers=6");  // the default, but given
  set_override(fields, "model.rope_theta=10000");
  CHECK_THROWS_WITH(
      adopt_model(o, source.info()),
      ContainsSubstring("model.layers is 6, there 2") && ContainsSubstring("model.rope_theta"));

  TrainOptions defaults = tiny_options("unused");
  defaults.model = {};
  adopt_model(defaults, source.info());
  CHECK(defaults.model.context == 32);
  CHECK(advice(defaults, source.info()).empty());
  defaults.data.seq_len = 48;
  CHECK_THAT(advice(defaults, source.info()).at(0), ContainsSubstring("longer than the 32 tokens"));
}

TEST_CASE("init: a foreign tokenizer and a vocabulary that is too large are refused") {
  log::set_level(log::Level::Error);
  const TempDir dir;
  const MemoryLoader loader, large(32, 43);
  FakeSource source(foreign_model());
  CHECK_THROWS_WITH(Trainer(options_from(dir, "large"), inputs_from(large, source)),
                    ContainsSubstring("model.vocab 42 is smaller than the 43 tokens"));
  source.edit().tokenizer_hash = "other";
  CHECK_THROWS_WITH(Trainer(options_from(dir, "run"), inputs_from(loader, source)),
                    ContainsSubstring("base has tokenizer other"));
  source.edit().tokenizer_hash = "";
  CHECK_NOTHROW(Trainer(options_from(dir, "none"), inputs_from(loader, source)));
}

TEST_CASE("init: resuming is exact, reads no weights again and takes the run's own options") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  const MemoryLoader loader;
  const FakeSource source(foreign_model());
  const auto run = [&](const char* name, int64_t stop_after) {
    Trainer* running = nullptr;
    TrainCallbacks callbacks;
    callbacks.stop = [&] { return running->steps_done() == stop_after; };
    Trainer trainer(options_from(dir, name), inputs_from(loader, source), callbacks);
    running = &trainer;
    trainer.run();
    return values_of(trainer.weights());
  };
  const std::vector<float> straight = run("straight", 0);
  run("halves", 3);
  const int64_t before = source.rows_read;
  CHECK(run("halves", 0) == straight);
  CHECK(source.rows_read == before);

  // The resolved configuration is a configuration for the same run.
  TrainOptions again;
  std::vector<OptionField> fields = option_fields(again);
  load_toml_file(fields, dir / "halves/config.toml");
  again.steps = 7;
  Trainer longer(again, inputs_from(loader, source));
  CHECK(longer.steps_done() == 6);
  CHECK(longer.run().step == 7);
}

TEST_CASE("epochs: the data says how many steps they are") {
  log::set_level(log::Level::Error);
  const TempDir dir;
  const MemoryLoader loader;  // 64 rows an epoch, 8 a step
  TrainOptions o = tiny_options(dir / "run");
  o.epochs = 1.5;
  o.attention.dense_first = "1100";  // more than the steps that stand here as a default
  CHECK_NOTHROW(validate(o));
  o.attention.dense_first = "25%";
  Trainer trainer(o, tiny_inputs(loader));
  CHECK(trainer.options().steps == 12);
  trainer.run();
  const std::vector<Json> steps = records(o.output, "step");
  REQUIRE(steps.size() == 12);
  CHECK(steps[3]["epoch"] == 0.5);
  CHECK(steps[11]["epoch"] == 1.5);
  CHECK(steps[2]["attention"] == "dense");
  CHECK(steps[3]["attention"] == "topk:k=4");
  const std::string config = read_file(o.output + "/config.toml");
  CHECK(config.find("epochs = 1.5") != std::string::npos);
  CHECK(config.find("steps = 0") != std::string::npos);

  // Longer by another number of epochs; a partial step counts as one.
  o.epochs = 1.6;
  Trainer longer(o, tiny_inputs(loader));
  CHECK(longer.options().steps == 13);
  CHECK(longer.steps_done() == 12);

  TrainOptions both = tiny_options("unused");
  std::vector<OptionField> fields = option_fields(both);
  set_override(fields, "steps=500");
  set_override(fields, "epochs=2");
  CHECK_THROWS_WITH(validate(both), ContainsSubstring("both say how long"));
  set_override(fields, "steps=0");
  CHECK_NOTHROW(validate(both));
  set_override(fields, "epochs=-1");
  CHECK_THROWS_WITH(validate(both), ContainsSubstring("epochs"));
}

TEST_CASE("targets: rows without any are counted over sessions and dilute nothing") {
  log::set_level(log::Level::Off);
  // Every fourth row has no target at all, so that with micro-batches of one row some have none.
  class Sparse : public MemoryLoader {
   public:
    Batch batch(int64_t first, int64_t rows) const override {
      Batch b = MemoryLoader::batch(first, rows);
      for (int64_t r = 0; r < rows; ++r) {
        if ((first + r) % 4 != 0) continue;
        std::fill_n(b.targets.begin() + r * 32, 32, kNoTarget);
      }
      return b;
    }
  };
  const TempDir dir;
  const Sparse loader;
  const auto run = [&](const char* name, int64_t micro, int64_t steps) {
    TrainOptions o = tiny_options(dir / name);
    o.steps = steps;
    o.batch.micro = micro;
    o.schedule = {.type = "constant", .warmup = "0", .min_lr_ratio = 1, .decay = "0"};
    o.attention.dense_first = "0";
    Trainer(o, tiny_inputs(loader)).run();
    return o.output;
  };
  const std::string one = run("one", 1, 3), eight = run("eight", 8, 3);
  const std::vector<Json> a = records(one, "step"), b = records(eight, "step");
  for (size_t i = 0; i < 3; ++i) {
    CHECK(a[i]["targets"] == b[i]["targets"]);
    CHECK(a[i]["loss"].get<double>() == Approx(b[i]["loss"].get<double>()).epsilon(1e-4));
    CHECK(a[i]["grad_norm"].get<double>() == Approx(b[i]["grad_norm"].get<double>()).epsilon(1e-3));
  }
  run("one", 1, 5);
  const auto values = read_checkpoint_info(find_checkpoint(one)).state.values;
  CHECK(values.at("rows_without_targets") == 10);
}

TEST_CASE("best: the weights of the lowest held-out loss are kept apart") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  // One text by heart makes a model sure of itself, and wrong about all others.
  const MemoryLoader loader(32, 40, [](int64_t, int64_t t) { return static_cast<int32_t>(t); });
  const MemoryLoader held_out;
  TrainOptions o = tiny_options(dir / "run");
  o.steps = 60;
  o.optim.lr = 2e-2;
  o.data.validation = {"memory"};
  o.validation = {.every = "5", .tokens = 256};
  o.checkpoint.keep_best = true;
  Trainer(o, tiny_inputs(loader, &held_out)).run();
  const std::vector<Json> held = records(o.output, "validation");
  REQUIRE(held.size() == 12);
  const auto best = std::min_element(held.begin(), held.end(), [](const Json& x, const Json& y) {
    return x["loss"].get<double>() < y["loss"].get<double>();
  });
  REQUIRE((*best)["step"] != 60);
  const std::string kept = find_checkpoint(o.output + "/best");
  CHECK(read_checkpoint_info(kept).state.step == (*best)["step"]);
  CHECK_FALSE(fs::exists(kept + "/optimizer.h5"));
  CHECK(std::distance(fs::directory_iterator(o.output + "/best"), {}) == 1);
  const CheckpointInfo last = read_checkpoint_info(find_checkpoint(o.output));
  CHECK(last.state.step == 60);
  CHECK(last.state.values.at("best_validation") == (*best)["loss"].get<double>());
  CHECK(last.state.values.at("best_step") == (*best)["step"]);
}

}  // namespace
}  // namespace pivot::test
