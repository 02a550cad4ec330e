// pivot eval: perplexity and task accuracy of a model under any list of attention specs.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/eval/evaluate.h"

namespace pivot {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  pivot eval --model runs/a --data heldout.h5\n"
    "  pivot eval --model runs/a --data recall.h5 --attn dense --attn topk:k=16 --attn "
    "topk:2%,min=8\n"
    "  pivot eval --model runs/a --data recall.h5 --mode train,decode --prefill dense --limit "
    "200\n";

// Written line by line, so that an interrupted evaluation keeps what it had.
class SampleFile {
 public:
  explicit SampleFile(const std::string& path) : path_(path), out_(path, std::ios::binary) {
    check();
  }
  void write(const std::string& lines) {
    out_ << lines << std::flush;
    check();
  }

 private:
  void check() const {
    if (!out_) throw_error("{}: cannot be written (disk full, or no permission?)", path_);
  }
  std::string path_;
  std::ofstream out_;
};

void make_parent(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent);
}

}  // namespace

int run_eval(const std::vector<std::string>& args) {
  eval::EvalOptions options;
  CommandLine line("eval", "Perplexity and task accuracy under any list of attention specs");
  line.options(options);
  line.footer(kFooter);
  if (!line.parse(args)) return 0;
  validate(options);
  const eval::OutputPaths paths = output_paths(options);
  std::unique_ptr<SampleFile> samples;
  const eval::ResultFile file = evaluate(options, [&](const std::string& lines) {
    if (paths.samples.empty()) return;
    if (samples == nullptr) {
      make_parent(paths.samples);
      samples = std::make_unique<SampleFile>(paths.samples);
    }
    samples->write(lines);
  });
  std::fputs(to_table(file.results).c_str(), stdout);
  if (options.limit > 0) log::info("--limit {}: a part of the data", options.limit);
  if (!paths.json.empty()) {
    make_parent(paths.json);
    write_file_atomically(paths.json, to_json(file));
    log::info("results in {}, samples in {}", paths.json, paths.samples);
  }
  return 0;
}

}  // namespace pivot
