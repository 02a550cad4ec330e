// pivot study: experiments on trained models.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "checkpoints/model_source.h"
#include "data/loader.h"
#include "kernels/attention_union/attention_union.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/options.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/loaded_model.h"
#include "src/eval/options.h"
#include "src/study/union_study.h"

namespace pivot {
namespace {

struct UnionCommandOptions {
  std::string model;
  std::string data;
  std::string device = "auto";
  std::vector<std::string> attn = {"topk:1%"};
  int64_t length = 0;
  int64_t rows = 4;
  int64_t least_visible = 0;
  std::string json;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("model", model, kModelDoc);
    v("data", data, "token shards; long documents are best");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("attn", attn, "Top-k specs whose sets are looked at; repeat it");
    v("length", length, "tokens of a packed row; 0 takes the model's context");
    v("rows", rows, "rows to look at");
    v("least_visible", least_visible,
      "leave out tiles that see fewer keys; 0 takes half of the row");
    v("json", json, "also write the results to this file");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

void print(const study::UnionResult& result) {
  fmt::print("{}: mean {:.3f} ({} tiles a head)\n  {:>5}  {:>6}  heads\n", to_string(result.policy),
             result.mean(), result.tiles, "layer", "mean");
  for (size_t layer = 0; layer < result.share.size(); ++layer) {
    fmt::print("  {:>5}  {:>6.3f} ", layer, result.mean_of_layer(layer));
    for (const double share : result.share[layer]) fmt::print(" {:.3f}", share);
    fmt::print("\n");
  }
}

void write_json(const std::string& path, const LoadedModel& model, int64_t length,
                const std::vector<study::UnionResult>& results) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const study::UnionResult& r : results) {
    list.push_back({{"attention", to_string(r.policy)},
                    {"mean", r.mean()},
                    {"tiles", r.tiles},
                    {"share", r.share}});
  }
  const nlohmann::ordered_json document = {{"model", model.path()},
                                           {"trained_with", model.info().attention},
                                           {"step", model.info().state.step},
                                           {"rows_of_a_tile", kUnionRows},
                                           {"length", length},
                                           {"results", list}};
  write_file_atomically(path, document.dump(2) + "\n");
}

int run_union(const std::vector<std::string>& args) {
  UnionCommandOptions options;
  CommandLine line("study union", "Share of the visible keys that 128 neighbouring queries keep");
  line.options(options);
  line.footer("The model runs with the attention it was trained with.");
  if (!line.parse(args)) return 0;
  if (options.model.empty() || options.data.empty()) {
    throw_user("name a model and shards with --model PATH --data PATH");
  }
  ThreadPool pool(options.threads);
  const Device device = parse_device(options.device);
  const LoadedModel model(options.model, "", parse_placement(options.device, "auto"), pool);
  const int64_t length = options.length > 0 ? options.length : model.model().config.context;
  const auto loader = open_loader({options.data}, {.seq_len = length}, 0, LoaderOrder::Sequential);
  if (loader->tokenizer_hash() != model.info().tokenizer_hash) {
    throw_user("{} was made with another tokenizer than {}", options.data, model.path());
  }
  study::UnionOptions wanted{
      .policies = {},
      .rows = options.rows,
      .least_visible = options.least_visible > 0 ? options.least_visible : length / 2};
  for (const std::string& spec : eval::join_specs(options.attn)) {
    wanted.policies.push_back(parse_policy(spec));
  }
  const auto results = study::measure_union(model.model(), *loader, wanted, device, pool);
  for (const study::UnionResult& result : results) print(result);
  if (!options.json.empty()) write_json(options.json, model, length, results);
  return 0;
}

}  // namespace

int run_study(const std::vector<std::string>& args) {
  constexpr const char* kUsage =
      "usage: pivot study WHAT ...\n\n"
      "  union      how many keys neighbouring queries keep together, by layer and head\n\n"
      "'pivot study WHAT --help' lists the options.\n";
  if (args.empty() || args[0] == "--help" || args[0] == "-h") {
    fmt::print("{}", kUsage);
    return args.empty() ? 2 : 0;
  }
  if (args[0] == "union") return run_union({args.begin() + 1, args.end()});
  throw_user("pivot study: unknown study '{}'; did you mean '{}'? ('pivot study --help' lists all)",
             args[0], nearest_name(args[0], {"union"}));
}

}  // namespace pivot
