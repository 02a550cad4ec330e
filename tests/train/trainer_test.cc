#include "train/trainer.h"

#include <cmath>
#include <filesystem>
#include <sstream>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/train/tiny_run.h"

namespace pivot::test {
namespace {

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

TEST_CASE("trainer: a tiny model learns a tiny text by heart, sparsely") {
  log::set_level(log::Level::Error);
  const std::string text = "the quick brown fox jumps over the lazy dog and runs home";
  const MemoryLoader loader(32, 128, [&](int64_t row, int64_t t) {
    return static_cast<int32_t>(text[static_cast<size_t>(row * 7 + t) % text.size()]);
  });
  const TempDir dir;
  TrainOptions o = tiny_options(dir / "run");
  o.model = tiny_model(128);
  o.steps = 120;
  o.optim.lr = 1e-2;
  o.data.validation = {"memory"};
  o.validation = {.every = "50%", .tokens = 256};
  o.sample.every = "50%";
  TrainCallbacks callbacks;
  callbacks.sample = [](const Model& model, ThreadPool&) {
    return std::vector<TextSample>{{"The ", to_string(model.attention) + " text"}};
  };
  Trainer trainer(o, tiny_inputs(loader, &loader), callbacks);
  const TrainResult result = trainer.run();
  CHECK(result.reason == TrainResult::Reason::Finished);
  CHECK(result.step == 120);

  const std::vector<Json> steps = records(o.output, "step");
  REQUIRE(steps.size() == 120);
  CHECK(steps.front()["loss"].get<double>() > 4);
  CHECK(steps.back()["loss"].get<double>() < 0.35);
  CHECK(steps[11]["attention"] == "dense");
  CHECK(steps[12]["attention"] == "topk:k=4");
  CHECK(steps[119]["tokens"] == 120 * 256);
  CHECK(steps[5]["mfu"].get<double>() > 0);
  CHECK(steps[50]["mfu_dense"].get<double>() > steps[50]["mfu"].get<double>());
  CHECK(steps[0].contains("kept_mass"));
  CHECK_FALSE(steps[1].contains("kept_mass"));
  CHECK(steps[6].contains("kept_mass"));

  const std::vector<Json> held_out = records(o.output, "validation");
  REQUIRE(held_out.size() == 2);
  CHECK(held_out[1]["step"] == 120);
  CHECK(held_out[1]["loss"].get<double>() < 0.35);
  CHECK(held_out[1]["bits_per_byte"].get<double>() ==
        Approx(held_out[1]["loss"].get<double>() / std::log(2.0)));
  // The first step, every seventh, and the first one that is sparse.
  CHECK(records(o.output, "diagnostics").size() == 1 + 120 / 7 + 1);
  CHECK(steps[12]["kept_mass"].get<double>() < 0.99);
  CHECK(read_file(o.output + "/samples.jsonl").find("\"text\":\"topk:k=4 text\"") !=
        std::string::npos);
  const CheckpointInfo info = read_checkpoint_info(find_checkpoint(o.output));
  CHECK(info.attention == "topk:k=4");
  CHECK(info.state.consumed_sequences == 120 * 8);
}

TEST_CASE("trainer: an outlier is not applied, is written down, and training goes on") {
  log::set_level(log::Level::Off);
  constexpr int64_t kBadStep = 80;
  const MemoryLoader loader(32, 40, [](int64_t row, int64_t t) {
    const Philox random(3, Stream::Test, static_cast<uint32_t>(row));
    if (row / 8 == kBadStep) {
      return static_cast<int32_t>(random.below(40, static_cast<uint64_t>(t)));
    }
    return static_cast<int32_t>((row + t) % 5);
  });
  const TempDir dir;
  TrainOptions o = tiny_options(dir / "run");
  o.steps = 90;
  o.optim.lr = 1e-2;
  o.spike_sigma = 6;
  o.attention.dense_first = "0";
  std::vector<std::vector<float>> weights;
  Trainer* running = nullptr;
  TrainCallbacks callbacks;
  callbacks.stop = [&] {
    weights.push_back(values_of(running->weights()));
    return false;
  };
  Trainer trainer(o, tiny_inputs(loader), callbacks);
  running = &trainer;
  trainer.run();
  const std::vector<Json> skips = records(o.output, "skip");
  REQUIRE(skips.size() == 1);
  CHECK(skips[0]["step"] == kBadStep + 1);
  CHECK(skips[0]["first_row"] == kBadStep * 8);
  CHECK(weights[kBadStep] == weights[kBadStep - 1]);
  CHECK(weights[kBadStep + 1] != weights[kBadStep]);
  const Json dump = Json::parse(read_file(o.output + "/skipped/step_00000081.json"));
  REQUIRE(dump["rows"].size() == 8);
  CHECK(dump["rows"][3]["row"] == kBadStep * 8 + 3);
  CHECK(dump["rows"][3]["loss"].get<double>() > 2);
  CHECK(records(o.output, "step").size() == 90);
}

TEST_CASE("trainer: NaN five times in a row saves and stops with advice") {
  log::set_level(log::Level::Off);
  const MemoryLoader loader;
  const TempDir dir;
  TrainOptions o = tiny_options(dir / "run");
  o.optim.lr = 1e30;  // the first update destroys the weights
  o.schedule.warmup = "0";
  Trainer trainer(o, tiny_inputs(loader));
  CHECK_THROWS_WITH(trainer.run(), ContainsSubstring("stopped at step"));
  const int64_t stopped = trainer.steps_done();
  CHECK(stopped >= 6);
  CHECK(records(o.output, "skip").size() == 5);
  CHECK(records(o.output, "end")[0]["reason"] == "stopped");
  CHECK(read_checkpoint_info(find_checkpoint(o.output)).state.step == stopped);

  o.output = dir / "strict";
  o.on_nan = "stop";
  Trainer strict(o, tiny_inputs(loader));
  CHECK_THROWS_AS(strict.run(), UserError);
  CHECK(records(o.output, "skip").size() == 1);
}

TEST_CASE("trainer: a time limit ends the run with a finished schedule") {
  log::set_level(log::Level::Error);
  const MemoryLoader loader;
  const TempDir dir;
  TrainOptions o = tiny_options(dir / "run");
  o.steps = 0;
  o.time = {0.6};
  o.attention.dense_first = "50%";
  Trainer trainer(o, tiny_inputs(loader));
  const TrainResult result = trainer.run();
  CHECK(result.reason == TrainResult::Reason::Time);
  const std::vector<Json> steps = records(o.output, "step");
  REQUIRE(steps.size() >= 3);
  CHECK(steps.front()["attention"] == "dense");
  CHECK(steps.back()["attention"] == "topk:k=4");
  const double last = steps.back()["lr"].get<double>();
  CHECK(last < 0.5 * o.optim.lr);
  CHECK(steps.back()["elapsed"].get<double>() >= 0.6);
}

TEST_CASE("trainer: the same seed gives the same losses, another one others") {
  log::set_level(log::Level::Error);
  const MemoryLoader loader;
  const auto losses = [&](uint64_t seed, int threads) {
    const TempDir dir;
    TrainOptions o = tiny_options(dir / "run");
    o.seed = seed;
    o.threads = threads;
    o.steps = 4;
    Trainer(o, tiny_inputs(loader)).run();
    std::vector<double> values;
    for (const Json& step : records(o.output, "step")) values.push_back(step["loss"]);
    return values;
  };
  const std::vector<double> first = losses(1, 2);
  CHECK(losses(1, 1) == first);
  CHECK(losses(2, 2) != first);
}

}  // namespace
}  // namespace pivot::test
