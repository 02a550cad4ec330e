// `pivot sft` from a model directory and a file of conversations to a run.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include "checkpoints/checkpoint.h"
#include "data/loader.h"
#include "data/shard.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/cli/commands.h"
#include "src/cli/sft_options.h"
#include "src/model/transformer.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kTemplate =
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

/// A random model of byte tokens, forty conversations and a template.
class Case {
 public:
  Case() {
    log::set_level(log::Level::Off);
    ModelConfig config;
    config.vocab = 258;
    config.dim = 32;
    config.layers = 2;
    config.heads = 2;
    config.kv_heads = 1;
    config.head_dim = 16;
    config.ffn_dim = 48;
    config.context = 160;
    CheckpointInfo info;
    info.model = config;
    info.attention = "dense";
    info.tokenizer_kind = "bytes";
    info.tokenizer_hash = make_tokenizer("bytes", "")->hash();
    info.pivot_version = "test";
    std::vector<float> weights(static_cast<size_t>(parameter_count(config)));
    const Tensor flat = view(weights.data(), {parameter_count(config)});
    test::TestContext host(size_t{1} << 20, 1);
    init_params(config, flat, 9, host.ctx);
    save_checkpoint(dir / "model", info, flat, {}, {});
    write_file_atomically(dir / "chat.jinja", kTemplate);
    write_talks(40);
  }
  ~Case() {
    log::set_level(log::Level::Info);
    clear_interrupt();
  }

  void write_talks(int count, const std::string& answer = "number ") const {
    std::string file;
    for (int i = 0; i < count; ++i) {
      file += json{{"messages",
                    {{{"role", "user"}, {"content", "what comes after " + std::to_string(i)}},
                     {{"role", "assistant"}, {"content", answer + std::to_string(i + 1)}}}}}
                  .dump() +
              "\n";
    }
    write_file_atomically(dir / "talks.jsonl", file);
  }

  int run(const std::string& output, std::vector<std::string> more = {}) const {
    std::vector<std::string> args = {"chat.train=" + (dir / "talks.jsonl"),
                                     "chat.template=" + (dir / "chat.jinja"),
                                     "output=" + (dir / output),
                                     "device=cpu",
                                     "threads=2",
                                     "attention.spec=topk:k=8",
                                     "batch.tokens=320",
                                     "optim.lr=1e-3",
                                     "sample.tokens=8",
                                     "spike_sigma=0",
                                     "--model",
                                     dir / "model"};
    args.insert(args.end(), more.begin(), more.end());
    return run_sft(args);
  }
  std::vector<float> weights(const std::string& output) const {
    const std::string checkpoint = find_checkpoint(dir / output);
    const CheckpointInfo info = read_checkpoint_info(checkpoint);
    std::vector<float> values(static_cast<size_t>(parameter_count(info.model)));
    read_checkpoint_tensors(checkpoint, info.model,
                            view(values.data(), {parameter_count(info.model)}), {}, {});
    return values;
  }
  std::vector<json> records(const std::string& file) const {
    std::ifstream in(dir / file);
    std::vector<json> out;
    for (std::string line; std::getline(in, line);) out.push_back(json::parse(line));
    return out;
  }

  test::TempDir dir;
};

}  // namespace

TEST_CASE("sft: one command makes data, probe, samples and a model that has learnt") {
  Case c;
  CHECK(c.run("run", {"epochs=12", "validation.every=50%", "sample.every=50%"}) == 0);
  const std::string run = c.dir / "run/";
  CHECK(fs::exists(run + "data/train/shard-00000.h5"));
  CHECK(fs::exists(run + "data/validation/shard-00000.h5"));
  CHECK(read_file(run + "probe.txt") ==
        "<user>what comes after 0</s><assistant>{+number 1</s>+}\n");
  CHECK(json::parse(read_file(run + "probe.json"))["runs"].size() == 2);

  std::vector<json> steps, validations;
  for (const json& record : c.records("run/metrics.jsonl")) {
    if (record["kind"] == "step") steps.push_back(record);
    if (record["kind"] == "validation") validations.push_back(record);
  }
  const auto loader = open_loader({run + "data/train"}, {.seq_len = 160, .pack = PackRule::Best}, 1,
                                  LoaderOrder::Shuffled);
  CHECK(static_cast<int64_t>(steps.size()) == (12 * loader->epoch_rows() + 1) / 2);
  CHECK(steps.back()["loss"].get<double>() < 0.8 * steps.front()["loss"].get<double>());
  CHECK(validations.size() == 2);

  // Only answers are targets: "number N</s>" is 12 or 13 bytes.
  const Batch batch = loader->batch(0, loader->epoch_rows());
  CHECK(batch.valid_targets() >= 39 * 12);
  CHECK(batch.valid_targets() <= 39 * 13);

  const auto samples = c.records("run/samples.jsonl");
  CHECK(samples.size() >= 2);
  CHECK(samples.front()["prompt"].get<std::string>().ends_with("</s><assistant>"));
  CHECK(samples.front()["text"].get<std::string>().find("wanted: number ") != std::string::npos);

  // Whoever talks to the model finds the template it was trained with.
  const CheckpointInfo info = read_checkpoint_info(find_checkpoint(run));
  CHECK(json::parse(info.companions.at(kTokenizerConfigFile))["chat_template"] == kTemplate);
  CHECK(info.attention == "topk:k=8");
}

TEST_CASE("sft: sessions of one step each are one session, bit for bit") {
  Case c;
  CHECK(c.run("straight", {"epochs=0", "steps=6"}) == 0);
  fs::create_directories(c.dir / "pieces");
  fs::copy(c.dir / "straight/data", c.dir / "pieces/data", fs::copy_options::recursive);
  catch_interrupts();
  for (int session = 0; session < 6; ++session) {
    ::raise(SIGTERM);  // the step under way is finished and saved
    CHECK(c.run("pieces", {"epochs=0", "steps=6"}) == 0);
    clear_interrupt();
    CHECK(read_checkpoint_info(find_checkpoint(c.dir / "pieces")).state.step == session + 1);
  }
  CHECK(c.weights("pieces") == c.weights("straight"));
}

TEST_CASE("sft: an interrupt while the data is made leaves nothing half-made") {
  Case c;
  catch_interrupts();
  ::raise(SIGTERM);
  CHECK_THROWS_WITH(c.run("run"), ContainsSubstring("nothing was written"));
  CHECK(!fs::exists(c.dir / "run/data"));
  clear_interrupt();
  CHECK(c.run("run", {"epochs=0", "steps=1"}) == 0);
}

TEST_CASE("sft: the data is made once, again when it changed, and not under a run's feet") {
  Case c;
  CHECK(c.run("run", {"epochs=0", "steps=1"}) == 0);
  const std::string shard = c.dir / "run/data/train/shard-00000.h5";
  const auto written = fs::last_write_time(shard);
  CHECK(c.run("run", {"epochs=0", "steps=2"}) == 0);
  CHECK(fs::last_write_time(shard) == written);
  c.write_talks(40, "surely ");
  CHECK_THROWS_WITH(c.run("run", {"epochs=0", "steps=3"}), ContainsSubstring("resume=never"));
  CHECK(fs::last_write_time(shard) == written);
  CHECK(c.run("run", {"epochs=0", "steps=1", "resume=never"}) == 0);
  CHECK(read_file(c.dir / "run/probe.txt").find("surely 1") != std::string::npos);
  // Shards that are there already do as well.
  CHECK(run_sft({"--model", c.dir / "model", "data.train=" + (c.dir / "run/data/train"),
                 "output=" + (c.dir / "again"), "device=cpu", "steps=1", "epochs=0",
                 "sample.every=0"}) == 0);
  CHECK(!fs::exists(c.dir / "again/data"));
  // The resolved configuration is a configuration of the same run.
  CHECK(run_sft({c.dir / "run/config.toml"}) == 0);
}

TEST_CASE("sft: bad input is named") {
  Case c;
  CHECK_THROWS_WITH(run_sft({"chat.train=x.jsonl"}), ContainsSubstring("--model"));
  CHECK_THROWS_WITH(run_sft({"--model", c.dir / "model"}), ContainsSubstring("chat.train"));
  CHECK_THROWS_AS(run_sft({"--model", c.dir / "none", "chat.train=x.jsonl"}), UserError);
  CHECK_THROWS_WITH(c.run("run", {"chat.train=" + (c.dir / "none.jsonl")}),
                    ContainsSubstring("none.jsonl"));
  CHECK_THROWS_WITH(c.run("run", {"chat.template=no-such-template"}),
                    ContainsSubstring("no-such-template"));
  CHECK_THROWS_WITH(c.run("run", {"chat.tempalte=x"}), ContainsSubstring("chat.template"));
  CHECK_THROWS_WITH(c.run("run", {"model.layers=7"}), ContainsSubstring("model.layers"));
  CHECK_THROWS_WITH(c.run("run", {"data.seq_len=4096"}), ContainsSubstring("model.context"));
  CHECK_THROWS_WITH(c.run("run", {"data.train=elsewhere"}), ContainsSubstring("one of them"));
  CHECK_THROWS_WITH(c.run("run", {"init=elsewhere"}), ContainsSubstring("--model"));
  CHECK_THROWS_WITH(c.run("run", {"data.seq_len=10", "batch.tokens=10"}),
                    ContainsSubstring("longer than 10 tokens"));
  write_file_atomically(c.dir / "talks.jsonl",
                        "{\"messages\": [{\"role\": \"user\", \"content\": "
                        "\"hi\"}]}\n");
  CHECK_THROWS_WITH(c.run("run"), ContainsSubstring("without a turn of the assistant"));
  CHECK(!fs::exists(c.dir / "run/checkpoints"));
  CHECK_THROWS_WITH(run_train({"chat.train=x.jsonl"}), ContainsSubstring("pivot sft"));
}

TEST_CASE("sft: defaults follow from the model and the data") {
  TrainOptions o = sft_defaults();
  o.model.context = 32768;
  choose_row_length(o);
  CHECK(o.data.seq_len == 8192);
  choose_step_tokens(o, nullptr);
  CHECK(o.batch.tokens == 65536);
  o = sft_defaults();
  o.model.context = 3000;
  choose_row_length(o);
  choose_step_tokens(o, nullptr);
  CHECK(o.data.seq_len == 3000);
  CHECK(o.batch.tokens == 63000);
  o.data.seq_len = 100000;
  o.batch.tokens = 0;
  choose_step_tokens(o, nullptr);
  CHECK(o.batch.tokens == 100000);
}

TEST_CASE("sft: a plan of it needs no run, and takes its data once it is there") {
  Case c;
  const std::string plan = c.dir / "plan.json";
  const std::vector<std::string> args = {"chat.train=" + (c.dir / "talks.jsonl"),
                                         "output=" + (c.dir / "run"),
                                         "device=cpu",
                                         "--model",
                                         c.dir / "model",
                                         "--json",
                                         plan};
  CHECK(run_plan(args) == 0);
  json before = json::parse(read_file(plan));
  CHECK(before["seq_len"] == 160);
  CHECK(before["vocab"] == 258);
  CHECK(c.run("run", {"epochs=0", "steps=1", "batch.tokens=0"}) == 0);
  CHECK(run_plan(args) == 0);
  CHECK(json::parse(read_file(plan))["vocab_source"] == "from the shards");
}

}  // namespace pivot
