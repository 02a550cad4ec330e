// pivot plan: memory, FLOPs, disk and time of a training or fine-tuning run before it starts. Exit
// 3: does not fit.
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "data/loader.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/cli/commands.h"
#include "src/cli/plan_print.h"
#include "src/cli/sft_options.h"
#include "src/cli/train_config.h"
#include "src/cli/train_run.h"
#include "src/core/cuda.h"
#include "train/compute.h"
#include "train/init_model.h"
#include "train/machine.h"
#include "train/setup.h"

namespace pivot {
namespace {

constexpr int kExitDoesNotFit = 3;
constexpr int64_t kAssumedVocab = 32000;
constexpr int64_t kAssumedSteps = 1000;

struct PlanOptions {
  ModelFlag init;
  std::string memory;
  bool measure = false;
  std::string json;

  template <class V>
  void visit(V&& v) {
    init.visit(v);
    v("memory", memory, "memory that may be used (4GiB); empty takes what is available now");
    v("measure", measure, "run four real steps instead of estimating their time");
    v("json", json, "also write the plan to this file");
  }
};

// The data of a fine-tuning run that was begun, or whose shards were made before.
void find_chat_shards(TrainOptions& o, PlanReport& report) {
  if (o.chat.train.empty() || !o.data.train.empty()) return;
  if (std::filesystem::is_directory(o.output + "/data/train")) {
    o.data.train = {o.output + "/data/train"};
  } else {
    report.notes.push_back(
        "the conversations are no shards yet: 'pivot data chat' makes them, and data.train names "
        "them");
  }
}

// Vocabulary and epoch from the data where it is there, else from the tokenizer, else assumed.
void look_at_data(TrainOptions& o, PlanReport& report) {
  find_chat_shards(o, report);
  if (!o.data.train.empty()) {
    try {
      const auto loader =
          open_loader(o.data.train, row_layout(o.data), o.seed, LoaderOrder::Shuffled);
      report.epoch_tokens = loader->epoch_tokens();
      choose_step_tokens(o, loader.get());
      fit_to_data(o, *loader, nullptr);
      report.vocabulary = "from the shards";
      return;
    } catch (const UserError& e) {
      report.notes.push_back(fmt::format("the data was not looked at: {}", e.what()));
    }
  }
  choose_step_tokens(o, nullptr);
  if (o.epochs > 0) {
    o.steps = kAssumedSteps;
    report.notes.push_back(fmt::format(
        "{} steps are assumed: how many {} epochs are, the data tells", o.steps, o.epochs));
  }
  if (o.model.vocab > 0) {
    report.vocabulary = o.init.empty() ? "model.vocab" : "of " + o.init;
  } else if (!o.data.tokenizer.empty()) {
    o.model.vocab = load_tokenizer(o.data.tokenizer)->vocab();
    report.vocabulary = "from the tokenizer";
  } else {
    o.model.vocab = kAssumedVocab;
    report.vocabulary = "assumed: there is neither data nor tokenizer nor model.vocab";
  }
}

void estimate(const TrainOptions& o, const PlanOptions& plan_options, ThreadPool& pool,
              PlanReport& report) {
  const RunLimits limits = run_limits(o);
  const AttentionSchedule schedule(o.attention, o.model.layers, o.data.seq_len, limits);
  const Compute compute = compute_of(o);
  const Speed speed = measure_speed(o, compute, pool);
  report.matmul_flops = speed.matmul_flops;
  for (size_t i = 0; i < report.plan.stages.size(); ++i) {
    const auto& layers = schedule.stages()[i].layers;
    const bool edge = i == 0 || i + 1 == report.plan.stages.size();
    report.stage_seconds.push_back(
        plan_options.measure && edge ? measure_step(o, compute, report.plan, layers, pool)
                                     : estimate_seconds(report.plan.stages[i].work, layers, speed));
  }
  report.validation_seconds =
      estimate_seconds(report.plan.validation, schedule.stages().back().layers, speed);
  report.measured = plan_options.measure;
}

}  // namespace

int run_plan(const std::vector<std::string>& args) {
  TrainOptions options;
  PlanOptions plan_options;
  const auto parse = [&] {
    return parse_train_command("plan", "Memory, FLOPs, disk and time of a training run",
                               "Takes the config and overrides of 'pivot train', or of 'pivot sft' "
                               "where the model to start "
                               "from or chat.train is named. Exit code 3: the run does not fit.",
                               args, options, plan_options);
  };
  if (!parse()) return 0;
  plan_options.init.apply(options);
  if (!options.chat.train.empty() || options.data.seq_len == 0 ||
      !plan_options.init.model.empty()) {
    options = sft_defaults();
    parse();
    plan_options.init.apply(options);
  }
  const auto init = open_init(options);
  choose_row_length(options);
  TrainOptions checked = options;
  choose_step_tokens(checked, nullptr);
  validate(checked);
  PlanReport report;
  const Compute planned = planned_compute(options);
  const ComputeMemory there = compute_memory(planned);
  report.budget = plan_options.memory.empty() ? there.available : parse_bytes(plan_options.memory);
  look_at_data(options, report);
  ThreadPool pool(options.threads);
  if (options.batch.micro == 0) {
    const size_t memory = plan_options.memory.empty() ? there.total : report.budget;
    options.batch.micro = choose_micro_rows(options, memory, pool);
  }
  report.plan = plan_run(options, pool);
  report.threads = pool.size();
  report.free_disk = free_disk_bytes(options.output);
  if (!report.fits_memory()) report.remedy = find_remedy(options, report.budget, pool);
  if (planned.device.target() == Device::Kind::Cuda && cuda::device_count() == 0) {
    report.notes.push_back(fmt::format("no time is estimated: {}", cuda::why_unavailable()));
    if (plan_options.memory.empty()) {
      report.notes.push_back("memory is that of a GPU of 80 GB; --memory takes another");
    }
  } else if (!plan_options.measure || report.fits_memory()) {
    estimate(options, plan_options, pool, report);
  } else {
    report.notes.push_back("--measure was left out: the run does not fit");
  }
  for (const std::string& line : advice(options)) report.notes.push_back(line);
  if (init != nullptr) {
    for (const std::string& line : advice(options, init->info())) report.notes.push_back(line);
  }

  std::fputs(plan_text(options, report).c_str(), stdout);
  if (!plan_options.json.empty()) {
    write_file_atomically(plan_options.json, plan_json(options, report));
  }
  return report.fits() ? 0 : kExitDoesNotFit;
}

}  // namespace pivot
