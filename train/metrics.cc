#include "train/metrics.h"

#include <chrono>
#include <cmath>

#include <nlohmann/json.hpp>

#include "train/jsonl.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;
constexpr double kSyncSeconds = 10;

struct Key {
  const char* name;
  const char* unit;
  const char* doc;
};

constexpr Key kStepKeys[] = {
    {"step", "steps", "optimiser steps done, this one included"},
    {"loss", "nats", "mean over the valid targets of the step"},
    {"lr", "", "learning rate of the step"},
    {"grad_norm", "", "L2 norm of the gradient before clipping"},
    {"tokens", "tokens", "consumed by the run so far"},
    {"epoch", "", "passes over the training data so far"},
    {"targets", "tokens", "valid targets of the step"},
    {"ms", "ms", "wall time of the step"},
    {"tok_s", "tokens/s", "tokens of the step / its time"},
    {"mfu", "1", "FLOPs of the model as trained / time / measured matmul peak"},
    {"mfu_dense", "1", "the same with the FLOPs that dense attention would take"},
    {"kept_mass", "1", "share of the full softmax on the kept keys; in steps with diagnostics"},
    {"attention", "", "attention spec of the step"},
    {"memory", "bytes", "held by weights, gradients, moments and the arena"},
    {"elapsed", "s", "training time over all sessions"},
};
constexpr Key kValidationKeys[] = {
    {"step", "steps", "optimiser steps done"},
    {"loss", "nats", "mean over the held-out targets"},
    {"ppl", "", "exp(loss)"},
    {"bits_per_byte", "bits", "where the bytes behind the targets are known"},
    {"tokens", "tokens", "held-out targets looked at"},
    {"attention", "", "attention spec"},
    {"elapsed", "s", "training time over all sessions"},
};
constexpr Key kDiagnosticsKeys[] = {
    {"step", "steps", "optimiser steps done"},
    {"kept_mass", "1", "mean over layers and heads of exp(lse_kept - lse_visible)"},
    {"layers", "", "per layer: policy, k (mean kept keys), kept_mass and entropy (nats) per head"},
    {"elapsed", "s", "training time over all sessions"},
};
constexpr Key kSkipKeys[] = {
    {"step", "steps", "the step that was not applied"},
    {"reason", "", "why"},
    {"loss", "nats", "mean over the valid targets of the step"},
    {"grad_norm", "", "L2 norm of the gradient"},
    {"first_row", "rows", "first row of the loader in the step"},
    {"rows", "rows", "rows of the step"},
};

template <size_t N>
Json describe(const Key (&keys)[N]) {
  Json out = Json::object();
  for (const Key& k : keys) out[k.name] = {{"unit", k.unit}, {"doc", k.doc}};
  return out;
}

Json schema() {
  return {{"kind", "schema"},
          {"version", kSchemaVersion},
          {"records",
           {{"step", describe(kStepKeys)},
            {"validation", describe(kValidationKeys)},
            {"diagnostics", describe(kDiagnosticsKeys)},
            {"skip", describe(kSkipKeys)}}}};
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

}  // namespace

struct MetricsWriter::State {
  JsonlFile file;
  std::chrono::steady_clock::time_point synced = std::chrono::steady_clock::now();

  void write(const Json& object) {
    file.write(object.dump(-1, ' ', false, Json::error_handler_t::replace));
    const auto now = std::chrono::steady_clock::now();
    if (std::chrono::duration<double>(now - synced).count() < kSyncSeconds) return;
    file.sync();
    synced = now;
  }
};

MetricsWriter::MetricsWriter(const std::string& path, int64_t step)
    : state_(new State{JsonlFile(path, step)}) {
  if (state_->file.empty()) state_->write(schema());
}

MetricsWriter::~MetricsWriter() = default;

void MetricsWriter::run(const RunMetrics& m) {
  Json object = {{"kind", "run"}, {"step", m.step}};
  for (const auto& [key, value] : m.text) object[key] = value;
  for (const auto& [key, value] : m.numbers) object[key] = number(value);
  for (const auto& [key, value] : m.memory) object["memory"][key] = number(value);
  state_->write(object);
}

void MetricsWriter::step(const StepMetrics& m) {
  Json object = {{"kind", "step"},
                 {"step", m.step},
                 {"loss", number(m.loss)},
                 {"lr", number(m.lr)},
                 {"grad_norm", number(m.grad_norm)},
                 {"tokens", m.tokens},
                 {"epoch", number(m.epoch)},
                 {"targets", m.targets},
                 {"ms", number(1e3 * m.seconds)},
                 {"tok_s", number(m.tokens_per_second)},
                 {"mfu", number(m.mfu)},
                 {"mfu_dense", number(m.mfu_dense)}};
  if (m.kept_mass) object["kept_mass"] = number(*m.kept_mass);
  object["attention"] = m.attention;
  object["memory"] = m.memory;
  object["elapsed"] = number(m.elapsed);
  state_->write(object);
}

void MetricsWriter::validation(const ValidationMetrics& m) {
  Json object = {{"kind", "validation"},
                 {"step", m.step},
                 {"loss", number(m.loss)},
                 {"ppl", number(std::exp(m.loss))}};
  if (m.bits_per_byte) object["bits_per_byte"] = number(*m.bits_per_byte);
  object["tokens"] = m.tokens;
  object["attention"] = m.attention;
  object["elapsed"] = number(m.elapsed);
  state_->write(object);
}

void MetricsWriter::diagnostics(int64_t step, const AttentionDiagnostics& m, double elapsed) {
  Json layers = Json::array();
  for (const LayerDiagnostics& d : m.layers) {
    Json mass = Json::array(), entropy = Json::array();
    for (const double x : d.kept_mass) mass.push_back(number(x));
    for (const double x : d.entropy) entropy.push_back(number(x));
    layers.push_back(
        {{"policy", d.policy}, {"k", number(d.k)}, {"kept_mass", mass}, {"entropy", entropy}});
  }
  state_->write({{"kind", "diagnostics"},
                 {"step", step},
                 {"kept_mass", number(m.kept_mass)},
                 {"layers", layers},
                 {"elapsed", number(elapsed)}});
}

void MetricsWriter::skip(const SkipMetrics& m) {
  state_->write({{"kind", "skip"},
                 {"step", m.step},
                 {"reason", m.reason},
                 {"loss", number(m.loss)},
                 {"grad_norm", number(m.grad_norm)},
                 {"first_row", m.first_row},
                 {"rows", m.rows}});
}

void MetricsWriter::checkpoint(int64_t step, const std::string& path, double seconds) {
  state_->write({{"kind", "checkpoint"}, {"step", step}, {"path", path}, {"seconds", seconds}});
  state_->file.sync();
}

void MetricsWriter::end(int64_t step, const std::string& reason, double elapsed) {
  state_->write(
      {{"kind", "end"}, {"step", step}, {"reason", reason}, {"elapsed", number(elapsed)}});
  state_->file.sync();
}

}  // namespace pivot
