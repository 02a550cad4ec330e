#include "src/eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>

#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/base/parallel.h"
#include "src/decode/loaded_model.h"
#include "src/eval/data_set.h"
#include "src/eval/decoding_path.h"
#include "src/eval/training_path.h"

namespace pivot::eval {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBatchTokens = 8192;  // of a training-path pass: large enough for full GEMM speed

struct Setting {
  std::string mode, attention, prefill;
};

// Results of the first spec of a data set and mode, for comparisons.
struct Baseline {
  std::vector<DocumentAnswers> answers;
  PerplexityResult perplexity;
  bool known = false;
};

std::unique_ptr<Predictor> make_predictor(const EvalOptions& o, const DataSet& set,
                                          const Setting& setting, LoadedModel& model, Device device,
                                          ThreadPool& pool) {
  const int layers = model.model().config.layers;
  if (setting.mode == "decode") {
    const EngineOptions engine{.attention = parse_layer_policies(setting.attention, layers),
                               .prefill = parse_layer_policies(setting.prefill, layers),
                               .max_context = set.longest,
                               .max_sequences = o.batch};
    return std::make_unique<DecodingPath>(model.model(), engine, device, pool);
  }
  model.set_attention(setting.attention);
  return std::make_unique<TrainingPath>(model.model(), device, pool, kBatchTokens);
}

std::string finish_retrieval(EvalResult& result, Baseline& baseline,
                             std::vector<DocumentAnswers> answers) {
  const RetrievalScores scores = score(answers);
  result.metrics = {{"answer_accuracy", scores.answers},
                    {"token_accuracy", scores.tokens},
                    {"document_accuracy", scores.documents},
                    {"loss", scores.loss}};
  result.tokens = scores.tokens.n;
  result.interval = wilson(scores.answers.value, scores.answers.n);
  if (baseline.known) {
    const RetrievalComparison c = compare(baseline.answers, answers);
    result.against_first = Comparison{"answer_accuracy", c.difference, c.mcnemar_p};
  }
  std::string lines = sample_lines(result, answers);
  if (!baseline.known) baseline.answers = std::move(answers);
  return lines;
}

std::string finish_perplexity(EvalResult& result, Baseline& baseline, PerplexityResult found) {
  const PerplexityScores scores = score(found);
  result.metrics = {{"loss", scores.loss}, {"perplexity", scores.perplexity}};
  if (scores.bits_per_byte.n > 0) result.metrics["bits_per_byte"] = scores.bits_per_byte;
  result.tokens = scores.loss.n;
  result.buckets = found.buckets;
  if (baseline.known) {
    result.against_first = Comparison{"loss", compare(baseline.perplexity, found), {}};
  }
  std::string lines = sample_lines(result, found.items);
  if (!baseline.known) baseline.perplexity = std::move(found);
  return lines;
}

EvalResult run_one(const EvalOptions& o, const DataSet& set, const Setting& setting,
                   Predictor& predictor, Baseline& baseline, const SampleSink& samples) {
  EvalResult result{.data = set.name,
                    .path = set.path,
                    .task = set.task,
                    .mode = setting.mode,
                    .attention = setting.attention,
                    .prefill = setting.prefill,
                    .items = static_cast<int64_t>(set.items.size())};
  Progress progress(fmt::format("{} {} {}", set.name, setting.mode, setting.attention), set.tokens);
  std::string lines;
  if (set.task == "retrieval") {
    const RetrievalTask task{set.documents};
    lines = finish_retrieval(result, baseline, task.run(predictor, progress));
  } else {
    const PerplexityTask task{*set.corpus, set.items, o.prefix};
    lines = finish_perplexity(result, baseline, task.run(predictor, progress));
  }
  if (result.tokens == 0) throw_user("{}: no token to be predicted in what was chosen", set.path);
  result.seconds = progress.seconds();
  result.kept_mass = predictor.kept_mass();
  baseline.known = true;
  if (samples) samples(lines);
  return result;
}

std::vector<std::string> canonical(const std::vector<std::string>& specs, int layers) {
  std::vector<std::string> out;
  for (const std::string& spec : specs)
    out.push_back(to_string(parse_layer_policies(spec, layers)));
  return out;
}

}  // namespace

ResultFile evaluate(const EvalOptions& options, const SampleSink& samples) {
  validate(options);
  const auto begin = std::chrono::steady_clock::now();
  const Placement placement = parse_placement(options.device, options.dtype);
  const Device device = placement.device;
  ThreadPool pool(options.threads);
  LoadedModel model(options.model, "", placement, pool);
  const ModelConfig& config = model.model().config;
  const std::string trained = canonical({model.info().attention}, config.layers)[0];
  std::vector<std::string> specs = canonical(join_specs(options.attn), config.layers);
  if (specs.empty()) specs = {trained};
  std::string prefill = options.prefill;
  if (!prefill.empty()) prefill = canonical({prefill}, config.layers)[0];

  ResultFile file{.model_path = model.path(),
                  .model_attention = trained,
                  .tokenizer_hash = model.info().tokenizer_hash,
                  .step = model.info().state.step,
                  .parameters = parameter_count(config),
                  .context = config.context,
                  .device = placement.describe(),
                  .threads = pool.size()};
  log::info("{}: {}; trained with {}", model.path(), placement.describe(), trained);
  EvalOptions shown = options;
  for (const OptionField& f : option_fields(shown)) file.options.emplace_back(f.key, f.print());
  const ModelOrigin origin{model.path(), model.info().tokenizer_hash};
  // All shards are opened before the first long run: mistakes show at once.
  std::vector<DataSet> sets;
  for (const std::string& path : options.data)
    sets.push_back(open_data_set(options, path, model.model().config, origin));
  for (const DataSet& set : sets) {
    std::vector<std::string> modes = options.mode;
    if (modes.empty()) modes = {set.task == "retrieval" ? "decode" : "train"};
    for (const std::string& mode : modes) {
      Baseline baseline;
      for (const std::string& spec : specs) {
        const Setting setting{mode, spec, mode == "train" ? "" : prefill.empty() ? spec : prefill};
        const auto predictor = make_predictor(options, set, setting, model, device, pool);
        file.results.push_back(run_one(options, set, setting, *predictor, baseline, samples));
        const EvalResult& r = file.results.back();
        log::info("{} {} {}: {} {:.4f}", r.data, r.mode, r.attention, main_metric(r),
                  r.metrics.at(main_metric(r)).value);
      }
    }
  }
  file.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return file;
}

OutputPaths output_paths(const EvalOptions& options) {
  OutputPaths out{options.json, options.samples};
  // A run holds its configuration beside the checkpoints; a checkpoint carries a manifest.
  const bool is_run =
      fs::exists(options.model + "/metrics.jsonl") && !fs::exists(options.model + "/MANIFEST.json");
  if (out.json.empty() && is_run) {
    std::string name = options.name;
    if (name.empty()) {
      for (const std::string& path : options.data) {
        if (!name.empty()) name += "+";
        name += data_set_name(path);
      }
    }
    out.json = options.model + "/eval/" + name + ".json";
  }
  if (out.samples.empty() && !out.json.empty()) {
    const std::string stem =
        out.json.ends_with(".json") ? out.json.substr(0, out.json.size() - 5) : out.json;
    out.samples = stem + ".samples.jsonl";
  }
  return out;
}

}  // namespace pivot::eval
