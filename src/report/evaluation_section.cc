// Results of `pivot eval`: accuracies as bars, losses by position as lines, everything as a table.
#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "src/report/charts.h"
#include "src/report/html.h"
#include "src/report/svg_plot.h"

namespace pivot::report {
namespace {

std::string attention_label(const EvalRow& row) {
  std::string label = row.attention;
  if (row.mode == "decode" && !row.prefill.empty() && row.prefill != row.attention) {
    label += ", prefill " + row.prefill;
  }
  return row.trained ? label + " (trained)" : label;
}

std::string mode_text(const std::string& mode) {
  if (mode == "decode") return "stepwise decoding";
  return mode == "train" ? "training path" : mode;
}

// Consecutive rows of the same data, task and mode of one file are compared in one picture.
bool same_group(const EvalRow& a, const EvalRow& b) {
  return a.file == b.file && a.data == b.data && a.task == b.task && a.mode == b.mode;
}

// Share of answers right; null where a task has none.
const EvalRow::Metric* share_right(const EvalRow& row) {
  for (const char* key : {"answer_accuracy", "substring_match"}) {
    const auto it = row.metrics.find(key);
    if (it != row.metrics.end()) return &it->second;
  }
  return nullptr;
}

std::string accuracy_bars(const std::vector<EvalRow>& rows) {
  BarPlot plot;
  plot.title = fmt::format("{}: answers right, {}", rows[0].data, mode_text(rows[0].mode));
  plot.x_label = "accuracy ± standard error";
  for (const EvalRow& row : rows) {
    const EvalRow::Metric* right = share_right(row);
    if (right == nullptr) continue;
    const EvalRow::Metric& m = *right;
    plot.bars.push_back({attention_label(row), m.value, m.stderr_value, fmt::format("(n {})", m.n),
                         row.trained                ? 1
                         : row.attention == "dense" ? 6
                                                    : 0});
    plot.description += fmt::format("{}: {:.4g}. ", attention_label(row), m.value);
  }
  return to_svg(plot);
}

std::string position_lines(const std::vector<EvalRow>& rows) {
  LinePlot plot;
  plot.title = fmt::format("{}: loss by position, {}", rows[0].data, mode_text(rows[0].mode));
  plot.x_label = "tokens of the document seen (first of the bucket)";
  plot.y_label = "nats per token";
  plot.x_scale = Scale::Log;
  for (size_t i = 0; i < rows.size(); ++i) {
    Line line{attention_label(rows[i]),
              {},
              rows[i].loss_by_position.y,
              LineStyle::Marked,
              static_cast<int>(i)};
    for (const double from : rows[i].loss_by_position.x) line.x.push_back(1 + from);
    plot.lines.push_back(std::move(line));
  }
  plot.description =
      "Mean loss of tokens at the same distance from the beginning of their document.";
  return to_svg(plot);
}

std::string metric_text(const EvalRow& row, const char* key) {
  const auto it = row.metrics.find(key);
  if (it == row.metrics.end() || !std::isfinite(it->second.value)) return "";
  const std::string value = fmt::format("{:.4f}", it->second.value);
  return it->second.stderr_value > 0 ? fmt::format("{} ± {:.4f}", value, it->second.stderr_value)
                                     : value;
}

std::string results_table(const std::vector<EvalRow>& rows) {
  constexpr std::pair<const char*, const char*> kMetrics[] = {{"answer_accuracy", "answers right"},
                                                              {"token_accuracy", "tokens right"},
                                                              {"substring_match", "answer found"},
                                                              {"exact_match", "exact match"},
                                                              {"f1", "F1"},
                                                              {"loss", "loss"},
                                                              {"perplexity", "perplexity"},
                                                              {"bits_per_byte", "bits/byte"}};
  std::vector<std::string> header = {"data", "path", "attention"};
  std::vector<const char*> keys;
  for (const auto& [key, name] : kMetrics) {
    const bool used = std::any_of(rows.begin(), rows.end(), [&, k = key](const EvalRow& r) {
      return r.metrics.count(k) > 0;
    });
    if (!used) continue;
    keys.push_back(key);
    header.emplace_back(name);
  }
  header.insert(header.end(), {"n", "kept mass", "against the first", "seconds"});
  std::vector<std::vector<std::string>> cells;
  for (const EvalRow& row : rows) {
    std::vector<std::string>& line = cells.emplace_back();
    line = {row.data, mode_text(row.mode), attention_label(row)};
    for (const char* key : keys) line.push_back(metric_text(row, key));
    const EvalRow::Metric* right = share_right(row);
    const auto loss = row.metrics.find("loss");
    const int64_t n = right != nullptr ? right->n : loss != row.metrics.end() ? loss->second.n : 0;
    line.push_back(std::to_string(n));
    line.push_back(row.kept_mass >= 0 ? fmt::format("{:.4f}", row.kept_mass) : "");
    line.push_back(row.against_first);
    line.push_back(fmt::format("{:.1f}", row.seconds));
  }
  return table(header, cells);
}

}  // namespace

std::string evaluation_section(const RunData& run) {
  if (run.evals.empty()) return "";
  std::string charts;
  for (size_t begin = 0; begin < run.evals.size();) {
    size_t end = begin + 1;
    while (end < run.evals.size() && same_group(run.evals[begin], run.evals[end])) ++end;
    const std::vector<EvalRow> group(run.evals.begin() + static_cast<std::ptrdiff_t>(begin),
                                     run.evals.begin() + static_cast<std::ptrdiff_t>(end));
    for (const std::string& svg : {accuracy_bars(group), position_lines(group)}) {
      if (!svg.empty()) charts += "<figure>" + svg + "</figure>\n";
    }
    begin = end;
  }
  std::string out;
  if (!charts.empty()) out = "<div class=\"charts\">\n" + charts + "</div>\n";
  for (const char* task : {"retrieval", "perplexity", "answers", "dialogues"}) {
    std::vector<EvalRow> rows;
    std::copy_if(run.evals.begin(), run.evals.end(), std::back_inserter(rows),
                 [&](const EvalRow& r) { return r.task == task; });
    if (!rows.empty()) out += results_table(rows);
  }
  return out;
}

}  // namespace pivot::report
