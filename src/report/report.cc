#include "src/report/report.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "src/base/units.h"
#include "src/report/charts.h"
#include "src/report/html.h"

namespace pivot::report {
namespace {

constexpr size_t kShownSamples = 6;
constexpr size_t kShownNotes = 12;

double last(const std::map<std::string, Series>& columns, const std::string& key) {
  const auto it = columns.find(key);
  return it == columns.end() || it->second.empty() ? std::nan("") : it->second.y.back();
}

double first_known(std::initializer_list<double> values) {
  for (const double v : values) {
    if (std::isfinite(v)) return v;
  }
  return std::nan("");
}

double smoothed_loss(const RunData& run) {
  const auto it = run.step.find("loss");
  if (it == run.step.end()) return std::nan("");
  const Series smooth = smoothed(it->second, smoothing_span(it->second.x.size()));
  return smooth.empty() ? std::nan("") : smooth.y.back();
}

double median(const std::map<std::string, Series>& columns, const std::string& key) {
  const auto it = columns.find(key);
  if (it == columns.end() || it->second.empty()) return std::nan("");
  std::vector<double> y = it->second.y;
  std::nth_element(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(y.size() / 2), y.end());
  return y[y.size() / 2];
}

/// Headline figures of a run, name and value; what is unknown is left out.
Facts headline(const RunData& run) {
  Facts out;
  const auto add = [&](const char* name, double value, const std::string& shown) {
    if (std::isfinite(value)) out.emplace_back(name, shown);
  };
  const double loss = smoothed_loss(run);
  add("training loss, smoothed", loss, fmt::format("{:.4f}", loss));
  const double held_out = last(run.validation, "loss");
  add("held-out loss", held_out, fmt::format("{:.4f}", held_out));
  const double bits = last(run.validation, "bits_per_byte");
  add("held-out bits per byte", bits, fmt::format("{:.4f}", bits));
  const double mass = last(run.step, "kept_mass");
  add("kept mass", mass, fmt::format("{:.4f}", mass));
  const auto loss_steps = run.step.find("loss");
  if (loss_steps != run.step.end()) {
    out.emplace_back("steps", fmt::format("{:.0f}", loss_steps->second.x.back()));
  }
  const double tokens = last(run.step, "tokens");
  add("tokens", tokens, format_si(tokens));
  const double seconds = first_known({last(run.step, "elapsed"), last(run.step, "elapsed_s")});
  add("training time", seconds, std::isfinite(seconds) ? format_duration(seconds) : "");
  const double speed =
      first_known({median(run.step, "tokens_per_second"), median(run.step, "tok_s")});
  add("tokens/s, median", speed, format_si(speed));
  const double mfu = median(run.step, "mfu");
  add("MFU, median", mfu, fmt::format("{:.1f} %", 100 * mfu));
  const double memory = first_known({last(run.step, "memory"), last(run.step, "memory_bytes")});
  add("memory", memory, std::isfinite(memory) ? format_bytes(memory) : "");
  for (const EvalRow& row : run.evals) {
    const auto it = row.metrics.find("answer_accuracy");
    if (it == row.metrics.end() || !row.trained) continue;
    // Where both paths were measured, the decoder's figure is the headline.
    const bool decoded_too = std::any_of(run.evals.begin(), run.evals.end(), [&](const EvalRow& r) {
      return r.trained && r.data == row.data && r.file == row.file && r.mode == "decode";
    });
    if (row.mode == "train" && decoded_too) continue;
    out.emplace_back(fmt::format("{}, {}", row.data, row.attention),
                     fmt::format("{:.1f} %", 100 * it->second.value));
  }
  return out;
}

std::string tiles(const Facts& facts) {
  std::string out = "<div class=\"tiles\">\n";
  for (const auto& [name, value] : facts) {
    out +=
        "<div class=\"tile\"><b>" + escape(value) + "</b><span>" + escape(name) + "</span></div>\n";
  }
  return facts.empty() ? "" : out + "</div>\n";
}

std::string section(const char* title, const std::string& body) {
  return body.empty() ? "" : fmt::format("<section>\n<h2>{}</h2>\n", title) + body + "</section>\n";
}

std::string samples_html(const std::vector<Sample>& samples) {
  if (samples.empty()) return "";
  std::string out;
  const size_t begin = samples.size() > kShownSamples ? samples.size() - kShownSamples : 0;
  if (begin > 0) {
    out += fmt::format("<p class=\"note\">The last {} of {} samples.</p>\n", kShownSamples,
                       samples.size());
  }
  for (size_t i = begin; i < samples.size(); ++i) {
    const Sample& s = samples[i];
    // Some writers repeat the prompt at the beginning of the text.
    const std::string text =
        !s.prompt.empty() && s.text.starts_with(s.prompt) ? s.text.substr(s.prompt.size()) : s.text;
    out += fmt::format("<h3>step {:.0f}</h3>\n<pre><span class=\"prompt\">", s.step) +
           escape(s.prompt) + "</span>" + escape(text) + "</pre>\n";
  }
  return out;
}

/// The probe conversation: what is learnt stands out.
std::string probe_html(const RunData& run) {
  if (run.probe.empty()) return "";
  std::string out = "<p class=\"note\">" + escape(run.probe_place) +
                    ": what is learnt stands on colour, special tokens are framed.</p>\n<pre>";
  for (const ProbeRun& part : run.probe) {
    const char* kind = part.learnt ? (part.special ? "learnt special" : "learnt")
                                   : (part.special ? "prompt special" : "prompt");
    out += fmt::format("<span class=\"{}\">", kind) + escape(part.text) + "</span>";
  }
  return out + "</pre>\n";
}

std::string notes_html(const std::vector<Facts>& notes) {
  if (notes.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  const size_t begin = notes.size() > kShownNotes ? notes.size() - kShownNotes : 0;
  for (size_t i = begin; i < notes.size(); ++i) {
    std::string kind, step, rest;
    for (const auto& [key, value] : notes[i]) {
      if (key == "kind") {
        kind = value;
      } else if (key == "step") {
        step = value;
      } else {
        rest += fmt::format("{}{} {}", rest.empty() ? "" : ", ", key, value);
      }
    }
    rows.push_back({step, kind, rest});
  }
  std::string out = table({"step", "event", "details"}, rows);
  if (begin > 0) {
    out +=
        fmt::format("<p class=\"note\">The last {} of {} events.</p>\n", kShownNotes, notes.size());
  }
  return out;
}

std::string broken_note(const RunData& run) {
  if (run.broken_lines == 0) return "";
  return fmt::format(
      "<p class=\"note warn\">{} {} could not be read and {} left out (first: {}).</p>\n",
      run.broken_lines, run.broken_lines == 1 ? "line" : "lines",
      run.broken_lines == 1 ? "is" : "are", escape(run.broken_where));
}

// Bytes as people read them.
Facts readable(Facts facts) {
  for (auto& [key, value] : facts) {
    if (!key.starts_with("memory.") || value.empty()) continue;
    char* end = nullptr;
    const double bytes = std::strtod(value.c_str(), &end);
    if (*end == '\0') value = format_bytes(bytes);
  }
  return facts;
}

std::string config_html(const std::string& config) {
  return config.empty() ? "" : "<pre>" + escape(config) + "</pre>\n";
}

}  // namespace

std::string render_run(const RunData& run) {
  std::string body = "<h1>" + escape(run.name) + "</h1>\n";
  body += "<p class=\"lead\">A training run of Pivot with exact Top-k attention.</p>\n";
  body += broken_note(run) + tiles(headline(run));
  body += section("Training", training_charts(run));
  body += section("Attention", attention_charts(run));
  body += section("Evaluation", evaluation_section(run));
  body += section("Summary", key_value_table(run.summary));
  body += section("Probe conversation", probe_html(run));
  body += section("Samples", samples_html(run.samples));
  body += section("Machine and model", key_value_table(readable(run.facts)));
  body += section("Events", notes_html(run.notes));
  body += section("Configuration", config_html(run.config));
  return document(run.name + " · Pivot", body);
}

std::string render_comparison(const std::vector<RunData>& runs) {
  std::vector<std::string> header = {"run"};
  std::vector<Facts> facts;
  std::string notes;
  for (const RunData& run : runs) {
    facts.push_back(headline(run));
    for (const auto& [name, value] : facts.back()) {
      if (std::find(header.begin(), header.end(), name) == header.end()) header.push_back(name);
    }
    notes += broken_note(run);
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::string>& row = rows.emplace_back(header.size());
    row[0] = runs[r].name;
    for (const auto& [name, value] : facts[r]) {
      row[static_cast<size_t>(std::find(header.begin(), header.end(), name) - header.begin())] =
          value;
    }
  }
  std::string body = fmt::format("<h1>{} runs compared</h1>\n", runs.size()) + notes;
  body += section("Results", table(header, rows));
  body += section("Training", comparison_charts(runs));
  for (const RunData& run : runs) {
    const std::string evaluation = evaluation_section(run);
    if (evaluation.empty()) continue;
    body += "<section>\n<h2>Evaluation of " + escape(run.name) + "</h2>\n" + evaluation +
            "</section>\n";
  }
  return document("Runs compared · Pivot", body);
}

}  // namespace pivot::report
