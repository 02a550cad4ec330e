#include "src/report/run_data.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/report/axis.h"

namespace pivot::report {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

double number(const json& object, const char* key, double otherwise) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : otherwise;
}

std::string text(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

// Numbers of an array; a single number is an array of one; null becomes NaN.
std::vector<double> numbers(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end()) return {};
  if (it->is_number()) return {it->get<double>()};
  std::vector<double> out;
  if (!it->is_array()) return out;
  for (const json& v : *it) out.push_back(v.is_number() ? v.get<double>() : std::nan(""));
  return out;
}

std::string value_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  if (value.is_number()) return fmt::format("{:.6g}", value.get<double>());
  return value.dump();
}

void flatten(const json& value, const std::string& prefix, Facts& out) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) {
      flatten(inner, prefix.empty() ? key : prefix + "." + key, out);
    }
  } else {
    out.emplace_back(prefix, value_text(value));
  }
}

// A session that was killed leaves steps which its successor does again: the later record holds.
void append(Series& series, double x, double y) {
  while (!series.x.empty() && series.x.back() >= x) {
    series.x.pop_back();
    series.y.pop_back();
  }
  series.x.push_back(x);
  series.y.push_back(y);
}

void add_numbers(const json& record, double step, std::map<std::string, Series>& columns) {
  for (const auto& [key, value] : record.items()) {
    if (value.is_number() && key != "step") append(columns[key], step, value.get<double>());
  }
}

void add_attention(const json& record, double step, RunData& run) {
  const auto it = record.find("layers");
  if (it == record.end() || !it->is_array()) return;
  std::vector<LayerAttention> layers;
  for (const json& layer : *it) {
    if (!layer.is_object()) continue;
    LayerAttention& out = layers.emplace_back();
    out.policy = text(layer, "policy");
    out.kept_mass = numbers(layer, "kept_mass");
    out.entropy = numbers(layer, "entropy");
    out.k = number(layer, "k", 0);
  }
  run.attention.erase(run.attention.lower_bound(step), run.attention.end());
  if (!layers.empty()) run.attention[step] = std::move(layers);
}

void add_record(const json& record, RunData& run) {
  const std::string kind = record.contains("kind") ? text(record, "kind") : "step";
  const double step = number(record, "step", -1);
  if (kind == "step" && step >= 0) {
    add_numbers(record, step, run.step);
  } else if (kind == "validation" && step >= 0) {
    add_numbers(record, step, run.validation);
  } else if ((kind == "diagnostics" || kind == "attention") && step >= 0) {
    add_attention(record, step, run);
  } else if (kind == "run") {
    run.facts.clear();
    flatten(record, "", run.facts);
    std::erase_if(run.facts, [](const auto& f) { return f.first == "kind"; });
  } else if (kind != "schema") {
    Facts note = {{"kind", kind}};
    flatten(record, "", note);
    std::erase_if(note, [&](const auto& f) { return f.first == "kind" && &f != &note.front(); });
    run.notes.push_back(std::move(note));
  }
}

// Calls `add` for every line that is a JSON object.
void read_lines(const std::string& path, RunData& run,
                const std::function<void(const json&)>& add) {
  if (!fs::exists(path)) return;
  const std::string content = read_file(path);
  int64_t line_number = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string line = content.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json record = json::parse(line, nullptr, false);
    if (record.is_object()) {
      add(record);
    } else if (run.broken_lines++ == 0) {
      run.broken_where = fmt::format("{} line {}", fs::path(path).filename().string(), line_number);
    }
  }
}

std::string difference_text(const json& against) {
  if (!against.is_object() || !against.contains("difference")) return "";
  std::string out = fmt::format("{:+.4g}", number(against, "difference", 0));
  const double error = number(against, "stderr", 0);
  if (error > 0) out += fmt::format(" ± {:.2g}", error);
  if (against.contains("mcnemar_p")) {
    out += fmt::format(" (p = {:.2g})", number(against, "mcnemar_p", 1));
  }
  return out;
}

EvalRow eval_row(const json& result, const std::string& file) {
  EvalRow row;
  row.file = file;
  row.data = text(result, "data");
  row.task = text(result, "task");
  row.mode = text(result, "mode");
  row.attention = text(result, "attn");
  row.prefill = text(result, "prefill");
  row.kept_mass = number(result, "kept_mass", -1);
  row.seconds = number(result, "seconds", 0);
  const json metrics = result.value("metrics", json::object());
  for (const auto& [key, metric] : metrics.items()) {
    if (!metric.is_object() || !metric.contains("value")) continue;
    const auto n = metric.find("n");
    row.metrics[key] = {number(metric, "value", std::nan("")), number(metric, "stderr", 0),
                        n != metric.end() && n->is_number_integer() ? n->get<int64_t>() : 0};
  }
  row.against_first = difference_text(result.value("against_first", json()));
  for (const json& bucket : result.value("loss_by_position", json::array())) {
    if (!bucket.is_object()) continue;
    append(row.loss_by_position, number(bucket, "from", 0), number(bucket, "loss", std::nan("")));
  }
  return row;
}

void read_evals(const std::string& directory, RunData& run) {
  if (!fs::is_directory(directory)) return;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const json content = json::parse(read_file(file.string()), nullptr, false);
    if (!content.is_object() || !content.value("results", json()).is_array()) {
      if (run.broken_lines++ == 0) run.broken_where = "eval/" + file.filename().string();
      continue;
    }
    const std::string trained = text(content.value("model", json::object()), "attention");
    for (const json& result : content["results"]) {
      if (!result.is_object()) continue;
      run.evals.push_back(eval_row(result, file.stem().string()));
      run.evals.back().trained = !trained.empty() && run.evals.back().attention == trained;
    }
  }
}

void add_probe(const json& probe, RunData& run) {
  if (!probe.is_object() || !probe.contains("runs") || !probe["runs"].is_array()) return;
  run.probe_place = text(probe, "place");
  const auto is_true = [](const json& object, const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_boolean() && it->get<bool>();
  };
  for (const json& part : probe["runs"]) {
    if (!part.is_object()) continue;
    run.probe.push_back({text(part, "text"), is_true(part, "learnt"), is_true(part, "special")});
  }
}

}  // namespace

RunData read_run(const std::string& path) {
  if (!fs::is_directory(path)) throw_user("{}: not a directory; name a run directory", path);
  RunData run;
  run.path = path;
  fs::path clean = fs::path(path).lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  if (clean == "." || clean.filename() == "..") clean = fs::canonical(path);
  run.name = clean.filename().string();
  read_lines(path + "/metrics.jsonl", run, [&](const json& r) { add_record(r, run); });
  read_lines(path + "/samples.jsonl", run, [&](const json& r) {
    run.samples.push_back({number(r, "step", 0), text(r, "prompt"), text(r, "text")});
  });
  read_evals(path + "/eval", run);
  if (fs::exists(path + "/config.toml")) run.config = read_file(path + "/config.toml");
  if (fs::exists(path + "/summary.json")) {
    const json summary = json::parse(read_file(path + "/summary.json"), nullptr, false);
    if (summary.is_object()) flatten(summary, "", run.summary);
  }
  if (fs::exists(path + "/probe.json")) {
    add_probe(json::parse(read_file(path + "/probe.json"), nullptr, false), run);
  }
  if (run.empty()) {
    throw_user("{}: nothing to report: no readable metrics.jsonl, samples.jsonl or eval/*.json",
               path);
  }
  return run;
}

}  // namespace pivot::report
