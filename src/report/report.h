#pragma once
/// `pivot report`: one self-contained HTML file about a run, or about several side by side.

#include <string>
#include <vector>

#include "src/report/run_data.h"

namespace pivot::report {

/// The whole page. Nothing in it is loaded from elsewhere, nothing needs a script.
std::string render_run(const RunData& run);
/// Overlaid curves and a table of the runs.
std::string render_comparison(const std::vector<RunData>& runs);

}  // namespace pivot::report
