#include "src/cli/plan_print.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "src/base/units.h"

namespace pivot {
namespace {

std::string bytes_text(double bytes) {
  return format_bytes(bytes);
}

// Mean seconds of a step over the run: stages by their share of it.
double mean_step_seconds(const PlanReport& r) {
  double mean = 0;
  for (size_t i = 0; i < r.stage_seconds.size(); ++i) {
    const double end = i + 1 < r.plan.stages.size() ? r.plan.stages[i + 1].begin : 1.0;
    mean += (end - r.plan.stages[i].begin) * r.stage_seconds[i];
  }
  return mean;
}

std::string memory_table(const PlanReport& r) {
  const MemoryPlan& m = r.plan.memory;
  const std::pair<const char*, size_t> lines[] = {
      {"parameters", m.parameters},   {"gradients", m.gradients}, {"moments", m.moments},
      {"activations", m.activations}, {"workspace", m.workspace}, {"libraries", m.libraries},
      {"merged", m.merged},           {"total", m.total()},       {"may be used", r.budget}};
  std::string out = "memory\n";
  for (const auto& [name, bytes] : lines) {
    if (bytes == 0) continue;
    out += fmt::format("  {:<14}{:>12}\n", name, bytes_text(static_cast<double>(bytes)));
  }
  if (r.fits_memory()) return out + "  fits\n";
  out += "  DOES NOT FIT\n";
  if (r.remedy.change.empty()) {
    return out +
           "  no micro-batch or recomputation makes it fit: use a smaller model, a shorter "
           "data.seq_len or a larger machine\n";
  }
  return out + fmt::format("  would fit with {}: {}\n", r.remedy.change,
                           bytes_text(static_cast<double>(r.remedy.total)));
}

std::string flops_table(const PlanReport& r) {
  const double tokens = static_cast<double>(r.plan.tokens_per_step());
  const CostLedger& trained = r.plan.stages.back().work;
  std::string out = fmt::format("FLOPs per token ({})\n", r.plan.stages.back().spec);
  std::vector<std::pair<std::string, double>> ops;
  for (const auto& [op, cost] : trained.by_op) ops.emplace_back(op, cost.flops / tokens);
  std::sort(ops.begin(), ops.end(),
            [](const auto& a, const auto& b) { return a.second > b.second; });
  const double total = trained.total.flops / tokens;
  for (const auto& [op, flops] : ops) {
    if (flops < 0.001 * total) continue;
    out += fmt::format("  {:<24}{:>10}  {:>5.1f}%\n", op, format_si(flops), 100 * flops / total);
  }
  out += fmt::format("  {:<24}{:>10}\n", "total", format_si(total));
  return out + fmt::format("  {:<24}{:>10}\n", "the same, dense",
                           format_si(r.plan.dense.total.flops / tokens));
}

std::string time_table(const TrainOptions& o, const PlanReport& r) {
  if (r.stage_seconds.empty()) return "";
  const double tokens = static_cast<double>(r.plan.tokens_per_step());
  std::string out =
      fmt::format("time ({}, {} threads, matmul peak {}FLOP/s)\n",
                  r.measured ? "four real steps" : "estimated from a short calibration", r.threads,
                  format_si(r.matmul_flops));
  const size_t last = r.plan.stages.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    if (i != 0 && i != last) continue;
    out += fmt::format("  {:<24}{:>8.0f} ms a step, {} tokens/s\n", r.plan.stages[i].spec,
                       1e3 * r.stage_seconds[i], format_si(tokens / r.stage_seconds[i]));
  }
  const RunTime run = run_time(o, r);
  return out + fmt::format("  {:<24}{:>8.0f} steps, {} tokens, {}\n", "the run", run.steps,
                           format_si(run.steps * tokens), format_duration(run.seconds));
}

}  // namespace

RunTime run_time(const TrainOptions& o, const PlanReport& r) {
  const double step = mean_step_seconds(r);
  const double validations = r.plan.validations * r.validation_seconds;
  RunTime run{static_cast<double>(o.steps), static_cast<double>(o.steps) * step + validations};
  const double limit = o.time.seconds;
  if (limit > 0 && (o.steps == 0 || run.seconds > limit)) {
    run.steps = std::max(0.0, limit - validations) / step;
    run.seconds = limit;
  }
  return run;
}

std::string plan_text(const TrainOptions& o, const PlanReport& r) {
  const RunPlan& p = r.plan;
  std::string out =
      fmt::format("model: {} parameters ({} layers x {}, vocabulary {} {})\n",
                  format_si(static_cast<double>(p.parameters)), o.model.layers, o.model.dim,
                  o.model.vocab, r.vocabulary.empty() ? "" : "(" + r.vocabulary + ")");
  if (o.lora.on()) {
    out += fmt::format("trained: {} parameters in adapters of rank {}, the rest is frozen\n",
                       format_si(static_cast<double>(p.trained)), o.lora.rank);
  }
  out += fmt::format("step: {} tokens, {} rows of {}, micro-batches of {}, recompute={}\n",
                     p.tokens_per_step(), p.rows, p.seq_len, p.micro_rows, o.recompute);
  if (r.epoch_tokens > 0 && o.steps > 0) {
    out += fmt::format(
        "data: {} tokens an epoch, {:.2f} epochs\n", format_si(static_cast<double>(r.epoch_tokens)),
        static_cast<double>(o.steps * p.tokens_per_step()) / static_cast<double>(r.epoch_tokens));
  }
  out += "\n" + memory_table(r) + "\n" + flops_table(r) + "\n" + time_table(o, r);
  out += fmt::format("\ndisk\n  a checkpoint {}, at most {} at once; {} free{}\n",
                     bytes_text(static_cast<double>(p.checkpoint_bytes)),
                     bytes_text(static_cast<double>(p.disk_bytes)),
                     bytes_text(static_cast<double>(r.free_disk)),
                     r.fits_disk() ? "" : ": DOES NOT FIT, lower checkpoint.keep");
  for (const std::string& note : r.notes) out += "\nnote: " + note + "\n";
  return out;
}

std::string plan_json(const TrainOptions& o, const PlanReport& r) {
  using Json = nlohmann::ordered_json;
  const RunPlan& p = r.plan;
  const double tokens = static_cast<double>(p.tokens_per_step());
  Json flops = Json::object();
  for (const auto& [op, cost] : p.stages.back().work.by_op) flops[op] = cost.flops / tokens;
  Json stages = Json::array();
  for (size_t i = 0; i < p.stages.size(); ++i) {
    Json stage = {{"begin", p.stages[i].begin},
                  {"attention", p.stages[i].spec},
                  {"flops", p.stages[i].model.total.flops},
                  {"flops_executed", p.stages[i].work.total.flops}};
    if (!r.stage_seconds.empty()) {
      stage["seconds"] = r.stage_seconds[i];
      stage["tokens_per_second"] = tokens / r.stage_seconds[i];
    }
    stages.push_back(stage);
  }
  Json json = {
      {"fits", r.fits()},
      {"parameters", p.parameters},
      {"trained_parameters", p.trained},
      {"vocab", o.model.vocab},
      {"vocab_source", r.vocabulary},
      {"seq_len", p.seq_len},
      {"tokens_per_step", p.tokens_per_step()},
      {"micro_rows", p.micro_rows},
      {"recompute", o.recompute},
      {"memory",
       {{"parameters", p.memory.parameters},
        {"gradients", p.memory.gradients},
        {"moments", p.memory.moments},
        {"activations", p.memory.activations},
        {"workspace", p.memory.workspace},
        {"libraries", p.memory.libraries},
        {"merged", p.memory.merged},
        {"total", p.memory.total()},
        {"budget", r.budget}}},
      {"flops_per_token", flops},
      {"flops_per_token_total", p.stages.back().work.total.flops / tokens},
      {"dense_flops_per_token_total", p.dense.total.flops / tokens},
      {"stages", stages},
      {"disk",
       {{"checkpoint", p.checkpoint_bytes}, {"total", p.disk_bytes}, {"free", r.free_disk}}}};
  if (!r.stage_seconds.empty()) {
    const RunTime run = run_time(o, r);
    json["matmul_flops"] = r.matmul_flops;
    json["measured"] = r.measured;
    json["steps"] = run.steps;
    json["seconds"] = run.seconds;
  }
  if (!r.fits_memory()) json["remedy"] = {{"change", r.remedy.change}, {"total", r.remedy.total}};
  if (!r.notes.empty()) json["notes"] = r.notes;
  return json.dump(2) + "\n";
}

}  // namespace pivot
