#include "train/resume.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "checkpoints/checkpoint.h"
#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

// The one list of keys that a resumed run may set anew. steps and time are here so that a run can
// be made longer; the schedules follow the new length from then on.
constexpr std::array kFreeKeys = {
    "output",
    "device",
    "init",  // its weights are in the checkpoint; adapters know theirs
    "steps",
    "epochs",
    "time",
    "threads",
    "recompute",
    "gemm_choices",
    "resume",
    "diagnostics_every",
    "on_nan",
    "spike_sigma",
    "batch.micro",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.keep_best",
    "validation.every",
    "validation.tokens",
    "data.validation",
    "data.tokenizer",  // the shards' own hash is what counts
    "sample.every",
    "sample.prompt",
    "sample.tokens"};

void move_aside(const std::string& output) {
  for (int i = 1;; ++i) {
    const std::string target = fmt::format("{}.{}", output, i);
    if (fs::exists(target)) continue;
    fs::rename(output, target);
    log::warning("resume=never: the earlier run in {} is now {}", output, target);
    return;
  }
}

bool holds_a_run(const std::string& output) {
  return fs::exists(output + "/metrics.jsonl") || fs::exists(output + "/checkpoints");
}

}  // namespace

// TOML opens every table once: fields of one table stand together, tables in the order of their
// first field.
std::string print_config(TrainOptions options) {
  if (options.epochs > 0) options.steps = 0;  // what decides, not what follows from it
  std::vector<OptionField> grouped;
  std::vector<std::string> tables;
  const std::vector<OptionField> fields = option_fields(options);
  const auto table_of = [](const OptionField& f) {
    const size_t dot = f.key.rfind('.');
    return dot == std::string::npos ? std::string() : f.key.substr(0, dot);
  };
  for (const OptionField& f : fields) {
    const std::string table = table_of(f);
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(table);
  }
  for (const std::string& table : tables) {
    for (const OptionField& f : fields) {
      if (table_of(f) == table) grouped.push_back(f);
    }
  }
  return to_toml(grouped, TomlComments::Docs);
}

bool may_change(const std::string& key) {
  return std::find(kFreeKeys.begin(), kFreeKeys.end(), key) != kFreeKeys.end();
}

void require_same_run(const TrainOptions& options, const std::string& config_toml,
                      const std::string& where) {
  TrainOptions now = options, then;
  std::vector<OptionField> new_fields = option_fields(now), old_fields = option_fields(then);
  load_toml_text(old_fields, config_toml, where + "/config.toml");
  std::string differences;
  bool model_differs = false;
  for (size_t i = 0; i < new_fields.size(); ++i) {
    const std::string after = new_fields[i].print(), before = old_fields[i].print();
    if (after == before || may_change(new_fields[i].key)) continue;
    differences += fmt::format("\n  {} was {}, is {}", new_fields[i].key, before, after);
    model_differs = model_differs || new_fields[i].key.starts_with("model.");
  }
  if (differences.empty()) return;
  const bool named = options.resume != "auto";
  if (named && !model_differs) {
    log::warning("{} was trained with other options:{}", where, differences);
    return;
  }
  if (named) throw_user("{} has another model:{}", where, differences);
  throw_user(
      "{} belongs to a run with other options:{}\nTake the old values to go on with it, another "
      "--output for a new run, resume=never to start over, or resume=PATH to change course",
      where, differences);
}

std::string resume_from(const TrainOptions& options) {
  if (options.resume == "never") {
    if (holds_a_run(options.output)) move_aside(options.output);
    return "";
  }
  if (options.resume == "auto") {
    const std::string dir = options.output + "/checkpoints";
    if (!fs::is_directory(dir)) return "";
    return list_checkpoints(dir).empty() ? "" : find_checkpoint(dir);
  }
  return find_checkpoint(options.resume);
}

void refuse_later_checkpoints(const TrainOptions& options, int64_t step) {
  const std::string dir = options.output + "/checkpoints";
  if (options.resume == "auto" || !fs::is_directory(dir)) return;
  for (const std::string& path : list_checkpoints(dir)) {
    if (read_checkpoint_info(path).state.step <= step) continue;
    throw_user(
        "{} is later than the checkpoint to go on from (step {}): choose another --output, or "
        "remove it",
        path, step);
  }
}

}  // namespace pivot
