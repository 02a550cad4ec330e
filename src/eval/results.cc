#include "src/eval/results.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "build_info.h"

namespace pivot::eval {
namespace {

using nlohmann::ordered_json;

constexpr char kSchema[] = "pivot.eval.1";

// JSON has no NaN: unknown numbers are null.
ordered_json number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

ordered_json estimate(const Estimate& e) {
  return {{"value", number(e.value)}, {"stderr", number(e.stderr_value)}, {"n", e.n}};
}

ordered_json comparison(const Comparison& c) {
  ordered_json out = {{"metric", c.metric},
                      {"difference", number(c.difference.value)},
                      {"stderr", number(c.difference.stderr_value)},
                      {"n", c.difference.n}};
  if (c.mcnemar_p) out["mcnemar_p"] = number(*c.mcnemar_p);
  return out;
}

ordered_json result_json(const EvalResult& r) {
  ordered_json out = {{"data", r.data},       {"path", r.path},
                      {"task", r.task},       {"mode", r.mode},
                      {"attn", r.attention},  {"prefill", r.prefill},
                      {"items", r.items},     {"tokens", r.tokens},
                      {"seconds", r.seconds}, {"kept_mass", number(mean_kept_mass(r))}};
  out["kept_mass_layers"] = ordered_json::array();
  for (const double m : r.kept_mass) out["kept_mass_layers"].push_back(number(m));
  for (const auto& [name, e] : r.metrics) out["metrics"][name] = estimate(e);
  if (r.interval) out["wilson95"] = {r.interval->low, r.interval->high};
  if (r.against_first) out["against_first"] = comparison(*r.against_first);
  for (const Comparison& c : r.other_comparisons) {
    out["others_against_first"].push_back(comparison(c));
  }
  for (const LengthBucket& b : r.lengths) {
    out["by_prompt_length"].push_back({{"from", b.from},
                                       {"to", b.to},
                                       {"exact_match", estimate(b.exact)},
                                       {"substring_match", estimate(b.substring)},
                                       {"f1", estimate(b.f1)}});
  }
  for (const PositionBucket& b : r.buckets) {
    const double mean = b.n > 0 ? b.loss / static_cast<double>(b.n) : std::nan("");
    out["loss_by_position"].push_back(
        {{"from", b.from}, {"to", b.to}, {"loss", number(mean)}, {"n", b.n}});
  }
  return out;
}

ordered_json sample_head(const EvalResult& r, int64_t id) {
  return {{"data", r.data},      {"task", r.task},       {"mode", r.mode},
          {"attn", r.attention}, {"prefill", r.prefill}, {"id", id}};
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string shown(double value, const char* missing = "-") {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : missing;
}

std::vector<std::string> table_row(const EvalResult& r) {
  const std::string metric = main_metric(r);
  const Estimate& e = r.metrics.at(metric);
  std::string against = "-";
  if (r.against_first) {
    const Comparison& c = *r.against_first;
    against = fmt::format("{:+.4f}", c.difference.value);
    if (std::isfinite(c.difference.stderr_value)) {
      against += fmt::format(" ± {:.4f}", c.difference.stderr_value);
    }
    if (c.mcnemar_p) against += fmt::format(", p {:.2g}", *c.mcnemar_p);
  }
  std::vector<std::string> row = {r.data,
                                  r.mode,
                                  r.attention,
                                  r.prefill.empty() || r.prefill == r.attention ? "-" : r.prefill,
                                  metric,
                                  shown(e.value),
                                  shown(e.stderr_value),
                                  std::to_string(e.n)};
  const auto bits = r.metrics.find("bits_per_byte");
  row.push_back(bits == r.metrics.end() ? "-" : shown(bits->second.value));
  row.insert(row.end(), {shown(mean_kept_mass(r)), fmt::format("{:.1f}", r.seconds), against});
  return row;
}

}  // namespace

std::string main_metric(const EvalResult& result) {
  if (result.task == "retrieval") return "answer_accuracy";
  return result.task == "answers" ? "substring_match" : "loss";
}

double mean_kept_mass(const EvalResult& result) {
  if (result.kept_mass.empty()) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (const double m : result.kept_mass) sum += m;
  return sum / static_cast<double>(result.kept_mass.size());
}

std::string to_table(const std::vector<EvalResult>& results) {
  std::vector<std::vector<std::string>> rows = {{"data", "mode", "attention", "prefill", "metric",
                                                 "value", "± stderr", "n", "bits/byte", "kept mass",
                                                 "seconds", "against the first"}};
  for (const EvalResult& r : results) rows.push_back(table_row(r));
  // Widths in characters, not bytes: "±" has two bytes.
  const auto letters = [](const std::string& text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
  };
  std::vector<size_t> width(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], letters(row[c]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(width[c] - letters(row[c]), ' ');
      const bool is_text = c < 5 || c + 1 == row.size();
      line += (is_text ? row[c] + pad : pad + row[c]) + "  ";
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string to_json(const ResultFile& file) {
  ordered_json out;
  out["schema"] = kSchema;
  out["pivot"] = {
      {"version", kVersion}, {"git", kGitHash}, {"compiler", kCompiler}, {"build", kBuildType}};
  out["date"] = utc_now();
  out["model"] = {{"path", file.model_path},           {"step", file.step},
                  {"parameters", file.parameters},     {"context", file.context},
                  {"attention", file.model_attention}, {"tokenizer_hash", file.tokenizer_hash}};
  out["machine"] = {{"device", file.device}, {"threads", file.threads}};
  for (const auto& [key, value] : file.options) out["config"][key] = value;
  out["seconds"] = file.seconds;
  out["results"] = ordered_json::array();
  for (const EvalResult& r : file.results) out["results"].push_back(result_json(r));
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string sample_lines(const EvalResult& result, const std::vector<DocumentAnswers>& documents) {
  std::string out;
  for (const DocumentAnswers& d : documents) {
    ordered_json line = sample_head(result, d.id);
    line["answers"] = ordered_json::array();
    for (const Answer& a : d.answers) {
      line["answers"].push_back({{"row", a.row},
                                 {"wanted", a.wanted},
                                 {"predicted", a.predicted},
                                 {"right", a.right()},
                                 {"logprob", number(a.logprob)}});
    }
    out += line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }
  return out;
}

std::string sample_lines(const EvalResult& result, const std::vector<ItemLoss>& items) {
  std::string out;
  for (const ItemLoss& item : items) {
    ordered_json line = sample_head(result, item.id);
    line["loss"] = item.n > 0 ? number(item.loss / static_cast<double>(item.n)) : nullptr;
    line["tokens"] = item.n;
    out += line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }
  return out;
}

std::string sample_lines(const EvalResult& result, std::span<const Question> questions,
                         std::span<const QuestionScore> scores) {
  std::string out;
  for (size_t i = 0; i < scores.size(); ++i) {
    const QuestionScore& s = scores[i];
    ordered_json line = sample_head(result, s.id);
    if (!s.cluster.empty()) line["cluster"] = s.cluster;
    line["prompt_tokens"] = s.prompt_tokens;
    line["answers"] = questions[i].answers;
    line["reply"] = s.reply.text;
    line["reply_tokens"] = s.reply.tokens;
    line["ended"] = s.reply.ended;
    line["exact_match"] = s.score.exact;
    line["substring_match"] = s.score.substring;
    line["f1"] = number(s.score.f1);
    out += line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  }
  return out;
}

}  // namespace pivot::eval
