#include "train/resume.h"

#include <filesystem>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/train/tiny_run.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

// What a run came to: everything that has to be the same, bit for bit.
struct Outcome {
  std::vector<float> weights;
  std::vector<std::string> losses;  // by step, as printed with all digits
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome outcome(const std::string& run, const Trainer& trainer) {
  Outcome o{values_of(trainer.weights()), {}};
  std::istringstream text(read_file(run + "/metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    const auto object = nlohmann::json::parse(line);
    if (object["kind"] != "step") continue;
    o.losses.push_back(object["loss"].dump() + " " + object["grad_norm"].dump() + " " +
                       object["lr"].dump() + " " + object["attention"].dump());
  }
  return o;
}

// Runs until `stop_after` steps are done (0: to the end).
Outcome run(const TrainOptions& o, int64_t stop_after = 0) {
  const MemoryLoader loader;
  Trainer* running = nullptr;
  TrainCallbacks callbacks;
  callbacks.stop = [&] { return stop_after > 0 && running->steps_done() >= stop_after; };
  Trainer trainer(o, tiny_inputs(loader), callbacks);
  running = &trainer;
  trainer.run();
  return outcome(o.output, trainer);
}

TrainOptions options_in(const TempDir& dir, const char* name) {
  TrainOptions o = tiny_options(dir / name);
  o.steps = 100;
  o.spike_sigma = 3;  // so that the guard's averages matter too
  return o;
}

TEST_CASE("resume: 100 steps are 50 and 50, bit for bit, however they are cut") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  const Outcome straight = run(options_in(dir, "straight"));
  REQUIRE(straight.losses.size() == 100);

  TrainOptions halves = options_in(dir, "halves");
  run(halves, 50);
  CHECK(run(halves) == straight);

  TrainOptions pieces = options_in(dir, "pieces");
  for (const int64_t stop : {1, 9, 10, 11, 63}) run(pieces, stop);
  pieces.threads = 1;
  pieces.recompute = "full";
  CHECK(run(pieces) == straight);
}

TEST_CASE("resume: a signal saves and stops, and the run goes on exactly") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  TrainOptions o = options_in(dir, "run");
  o.steps = 30;
  TrainOptions reference = o;
  reference.output = dir / "reference";
  const Outcome want = run(reference);
  CHECK(want.losses.size() == 30);

  const MemoryLoader loader;
  catch_interrupts();
  {
    // The signal arrives while the sample of step 15 is written: in the middle of the loop.
    o.sample.every = "50%";
    TrainCallbacks callbacks;
    callbacks.sample = [](const Model&, ThreadPool&) {
      ::raise(SIGTERM);
      return std::vector<TextSample>{{"prompt", "text"}};
    };
    Trainer trainer(o, tiny_inputs(loader), callbacks);
    const TrainResult result = trainer.run();
    CHECK(result.reason == TrainResult::Reason::Interrupted);
    CHECK(result.step == 16);
    CHECK(read_checkpoint_info(result.checkpoint).state.step == 16);
  }
  clear_interrupt();
  Trainer trainer(o, tiny_inputs(loader));
  CHECK(trainer.steps_done() == 16);
  trainer.run();
  CHECK(outcome(o.output, trainer) == want);
}

TEST_CASE("resume: kill -9 again and again, saving all the time, ends at the same bits") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  TrainOptions o = options_in(dir, "killed");
  o.steps = 40;
  TrainOptions reference = o;
  reference.output = dir / "reference";
  const Outcome want = run(reference);
  o.checkpoint.every = "1";
  int killed = 0;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        run(o);
      } catch (const std::exception&) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    // Killed at the first checkpoint beyond what is there, at an odd moment of the next step.
    const size_t before =
        fs::exists(o.output) ? list_checkpoints(o.output + "/checkpoints").size() : 0;
    const auto newest = [&]() -> std::string {
      if (!fs::exists(o.output + "/checkpoints")) return "";
      const auto found = list_checkpoints(o.output + "/checkpoints");
      return found.empty() ? "" : found.back();
    };
    const std::string first = newest();
    for (int wait = 0; wait < 2000 && newest() == first; ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(700 * i));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    // A kill between a save and its clean-up leaves one more; the next clean-up that happens takes
    // all.
    CHECK(before <= 2 + static_cast<size_t>(killed));
    killed += WIFSIGNALED(status) ? 1 : 0;
  }
  CHECK(killed >= 1);
  CHECK(run(o) == want);
  CHECK(list_checkpoints(o.output + "/checkpoints").size() == 2);
  for (const auto& entry : fs::directory_iterator(o.output + "/checkpoints")) {
    CHECK(entry.path().filename().string().starts_with("step_"));
    CHECK_NOTHROW(read_checkpoint_info(entry.path().string()));
  }
}

TEST_CASE("resume: another configuration is refused by its keys; free keys may change") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  TrainOptions o = options_in(dir, "run");
  o.steps = 4;
  run(o);
  TrainOptions other = o;
  other.optim.lr = 1;
  other.attention.spec = "topk:k=5";
  CHECK_THROWS_WITH(run(other), ContainsSubstring("optim.lr was 0.003, is 1"));
  CHECK_THROWS_WITH(run(other), ContainsSubstring("attention.spec was topk:k=4, is topk:k=5"));
  TrainOptions longer = o;
  longer.steps = 6;
  longer.threads = 1;
  longer.checkpoint.every = "50%";
  CHECK(run(longer).losses.size() == 6);
  CHECK(run(longer).losses.size() == 6);  // nothing left to do

  // A named checkpoint may take another course, but not another model.
  TrainOptions course = other;
  course.output = dir / "course";
  course.resume = o.output;
  course.steps = 9;
  CHECK(run(course).losses.size() == 3);
  course.output = dir / "model";
  course.model.layers = 3;
  CHECK_THROWS_WITH(run(course), ContainsSubstring("model.layers was 2, is 3"));
}

TEST_CASE("resume: never starts over and keeps the old run; an older checkpoint is not mixed in") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  TrainOptions o = options_in(dir, "run");
  o.steps = 6;
  o.checkpoint.every = "3";
  run(o);
  TrainOptions back = o;
  back.resume = o.output + "/checkpoints/step_00000003";
  CHECK_THROWS_WITH(run(back), ContainsSubstring("step_00000006 is later"));
  o.resume = "never";
  CHECK(run(o).losses.size() == 6);
  CHECK(fs::exists(o.output + ".1/metrics.jsonl"));
}

TEST_CASE("resume: a damaged newest checkpoint is passed over") {
  log::set_level(log::Level::Off);
  const TempDir dir;
  TrainOptions o = options_in(dir, "run");
  o.steps = 10;
  o.checkpoint.every = "50%";
  const Outcome want = run(o);
  const std::string damaged = o.output + "/checkpoints/step_00000010/model.h5";
  std::string bytes = read_file(damaged);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file_atomically(damaged, bytes);
  CHECK(run(o) == want);
}

TEST_CASE("resume: every option survives config.toml, and free keys exist") {
  TrainOptions o = tiny_options("runs/x");
  o.model.rope_scaling.type = "llama3";
  o.model.qk_norm = true;
  o.time = {90};
  TrainOptions back;
  std::vector<OptionField> fields = option_fields(back);
  load_toml_text(fields, print_config(o), "test");
  CHECK(print_config(back) == print_config(o));
  CHECK(back.model.rope_scaling.type == "llama3");
  CHECK(may_change("steps"));
  CHECK_FALSE(may_change("optim.lr"));
  CHECK_FALSE(may_change("model.dim"));
}

}  // namespace
}  // namespace pivot::test
