#pragma once
/// The pictures of a run, as HTML sections. Each returns "" when the run has nothing to show for
/// it.

#include <string>
#include <vector>

#include "src/report/run_data.h"

namespace pivot::report {

/// Loss (raw, smoothed, held-out), learning rate, gradient norm, tokens/s.
std::string training_charts(const RunData& run);
/// Kept mass and entropy per layer over the steps, and per layer and head at the end.
std::string attention_charts(const RunData& run);
/// Accuracy by attention spec, loss by position, and the table of all results.
std::string evaluation_section(const RunData& run);
/// Losses of several runs over each other, by step and by time.
std::string comparison_charts(const std::vector<RunData>& runs);

/// Mean of the values within span / 2 on either side (fewer at the ends): smooth without lagging.
Series smoothed(const Series& raw, double span);
/// The span used in pictures of this many points.
double smoothing_span(size_t points);

}  // namespace pivot::report
