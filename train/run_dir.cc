#include "train/run_dir.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

using Json = nlohmann::ordered_json;

std::string prepared(const std::string& path, const std::string& config_toml) {
  std::error_code error;
  std::filesystem::create_directories(path + "/checkpoints", error);
  if (error) throw_error("output {}: cannot be created: {}", path, error.message());
  write_file_atomically(path + "/config.toml", config_toml);
  return path;
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(fmt::format("{}", value));
}

}  // namespace

RunDir::RunDir(const std::string& path, const std::string& config_toml, int64_t step)
    : path_(prepared(path, config_toml)),
      metrics_(path + "/metrics.jsonl", step),
      samples_(path + "/samples.jsonl", step),
      board_(path, step) {}

void RunDir::step(const StepMetrics& m) {
  metrics_.step(m);
  std::vector<std::pair<std::string, double>> values = {{"train/loss", m.loss},
                                                        {"train/lr", m.lr},
                                                        {"train/grad_norm", m.grad_norm},
                                                        {"speed/tok_s", m.tokens_per_second},
                                                        {"speed/mfu", m.mfu}};
  if (m.kept_mass) values.emplace_back("attention/kept_mass", *m.kept_mass);
  board_.scalars(m.step, values);
}

void RunDir::validation(const ValidationMetrics& m) {
  metrics_.validation(m);
  std::vector<std::pair<std::string, double>> values = {{"validation/loss", m.loss}};
  if (m.bits_per_byte) values.emplace_back("validation/bits_per_byte", *m.bits_per_byte);
  board_.scalars(m.step, values);
}

void RunDir::diagnostics(int64_t step, const AttentionDiagnostics& m, double elapsed) {
  metrics_.diagnostics(step, m, elapsed);
  std::vector<std::pair<std::string, double>> values;
  for (size_t l = 0; l < m.layers.size(); ++l) {
    const LayerDiagnostics& d = m.layers[l];
    double mass = 0, entropy = 0;
    for (const double x : d.kept_mass) mass += x / static_cast<double>(d.kept_mass.size());
    for (const double x : d.entropy) entropy += x / static_cast<double>(d.entropy.size());
    values.emplace_back(fmt::format("attention/layer_{}/kept_mass", l), mass);
    values.emplace_back(fmt::format("attention/layer_{}/entropy", l), entropy);
    values.emplace_back(fmt::format("attention/layer_{}/k", l), d.k);
  }
  board_.scalars(step, values);
}

void RunDir::sample(int64_t step, const std::string& attention, const std::string& prompt,
                    const std::string& text) {
  const Json object = {
      {"step", step}, {"attention", attention}, {"prompt", prompt}, {"text", text}};
  samples_.write(object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void RunDir::skipped(const SkipMetrics& m, const std::vector<double>& row_losses) {
  metrics_.skip(m);
  Json rows = Json::array();
  for (size_t i = 0; i < row_losses.size(); ++i) {
    rows.push_back(
        {{"row", m.first_row + static_cast<int64_t>(i)}, {"loss", number(row_losses[i])}});
  }
  const Json object = {{"step", m.step},
                       {"reason", m.reason},
                       {"loss", number(m.loss)},
                       {"grad_norm", number(m.grad_norm)},
                       {"rows", rows}};
  std::filesystem::create_directories(path_ + "/skipped");
  write_file_atomically(fmt::format("{}/skipped/step_{:08}.json", path_, m.step),
                        object.dump(2) + "\n");
}

}  // namespace pivot
