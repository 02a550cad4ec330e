// pivot report: one HTML page about a run, or about several side by side.
#include "src/report/report.h"

#include <string>
#include <vector>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"

namespace pivot {
namespace {

struct ReportOptions {
  std::string out;
  template <class V>
  void visit(V&& v) {
    v("out", out, "the HTML file; empty writes RUN/report.html (several runs: report.html)");
  }
};

}  // namespace

int run_report(const std::vector<std::string>& args) {
  ReportOptions options;
  std::vector<std::string> paths;
  CommandLine line("report", "One self-contained HTML page about a run, or about several compared");
  line.options(options);
  line.positional("RUN", paths, "run directories", CommandLine::Required);
  line.footer("Reads metrics.jsonl, samples.jsonl, eval/*.json, summary.json and config.toml.");
  if (!line.parse(args)) return 0;
  std::vector<report::RunData> runs;
  for (const std::string& path : paths) runs.push_back(report::read_run(path));
  for (const report::RunData& run : runs) {
    if (run.broken_lines > 0) {
      log::warning("{}: {} lines could not be read, the first is {}", run.path, run.broken_lines,
                   run.broken_where);
    }
  }
  const std::string html =
      runs.size() == 1 ? report::render_run(runs[0]) : report::render_comparison(runs);
  if (options.out.empty())
    options.out = runs.size() == 1 ? paths[0] + "/report.html" : "report.html";
  write_file_atomically(options.out, html);
  fmt::print("{} ({})\n", options.out, format_bytes(static_cast<double>(html.size())));
  return 0;
}

}  // namespace pivot
