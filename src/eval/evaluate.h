#pragma once
/// The whole of `pivot eval`: data sets x modes x attention specs.

#include <functional>
#include <string>

#include "src/eval/options.h"
#include "src/eval/results.h"

namespace pivot::eval {

/// Receives the JSON lines of every result as soon as it is there.
using SampleSink = std::function<void(const std::string& lines)>;

/// Throws UserError on options out of range, a missing or damaged model or shard, a shard of
/// another tokenizer, a spec that does not parse. `samples` may be empty.
ResultFile evaluate(const EvalOptions& options, const SampleSink& samples);

/// Where results go: from --json, --samples, --name and what --model is. "" writes no file.
struct OutputPaths {
  std::string json;
  std::string samples;
};
OutputPaths output_paths(const EvalOptions& options);

}  // namespace pivot::eval
