#include "src/eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/base/parallel.h"
#include "src/decode/loaded_model.h"
#include "src/decode/session.h"
#include "src/decode/turn_end.h"
#include "src/eval/data_set.h"
#include "src/eval/decoding_path.h"
#include "src/eval/greedy_answerer.h"
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
  std::vector<QuestionScore> replies;
  PerplexityResult perplexity;
  bool known = false;
};

// What runs the model: where, and how replies end.
struct Machine {
  LoadedModel& model;
  Device device;
  ThreadPool& pool;
  const ChatFormat* chat;  // with --questions
  ReplyEnd reply_end;
};

EngineOptions engine_options(const EvalOptions& o, const DataSet& set, const Setting& setting,
                             int layers) {
  return {.attention = parse_layer_policies(setting.attention, layers),
          .prefill = parse_layer_policies(setting.prefill, layers),
          .max_context = set.longest,
          .max_sequences = o.batch};
}

std::unique_ptr<Predictor> make_predictor(const EvalOptions& o, const DataSet& set,
                                          const Setting& setting, const Machine& machine) {
  auto& [model, device, pool, chat, end] = machine;
  if (setting.mode == "decode") {
    return std::make_unique<DecodingPath>(
        model.model(), engine_options(o, set, setting, model.model().config.layers), device, pool);
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

std::string finish_answers(EvalResult& result, Baseline& baseline, const DataSet& set,
                           std::vector<QuestionScore> replies) {
  const AnswerScores scores = score(replies);
  result.metrics = {{"substring_match", scores.substring},
                    {"exact_match", scores.exact},
                    {"f1", scores.f1},
                    {"reply_tokens", scores.tokens},
                    {"ended", scores.ended}};
  for (const QuestionScore& q : replies) result.tokens += q.reply.tokens;
  result.interval = wilson(scores.substring.value, scores.substring.n);
  result.lengths = scores.lengths;
  if (baseline.known) {
    const AnswerComparison c = compare(baseline.replies, replies);
    result.against_first = Comparison{"substring_match", c.substring, c.substring_p};
    result.other_comparisons = {{"exact_match", c.exact, c.exact_p}, {"f1", c.f1, {}}};
  }
  std::string lines = sample_lines(result, set.questions, replies);
  if (!baseline.known) baseline.replies = std::move(replies);
  return lines;
}

EvalResult run_one(const EvalOptions& o, const DataSet& set, const Setting& setting,
                   const Machine& machine, Baseline& baseline, const SampleSink& samples) {
  EvalResult result{.data = set.name,
                    .path = set.path,
                    .task = set.task,
                    .mode = setting.mode,
                    .attention = setting.attention,
                    .prefill = setting.prefill,
                    .items = static_cast<int64_t>(set.items.size())};
  Progress progress(fmt::format("{} {} {}", set.name, setting.mode, setting.attention), set.tokens);
  std::string lines;
  if (set.task == "answers") {
    const auto& [model, device, pool, chat, end] = machine;
    GreedyAnswerer answerer(model.model(),
                            engine_options(o, set, setting, model.model().config.layers), device,
                            pool, *chat->tokenizer, end);
    lines = finish_answers(result, baseline, set, ask(answerer, set.questions, progress));
    result.kept_mass = answerer.kept_mass();
  } else {
    const auto predictor = make_predictor(o, set, setting, machine);
    if (set.task == "retrieval") {
      const RetrievalTask task{set.documents};
      lines = finish_retrieval(result, baseline, task.run(*predictor, progress));
    } else {
      const PerplexityTask task{*set.corpus, set.items, o.prefix};
      lines = finish_perplexity(result, baseline, task.run(*predictor, progress));
    }
    result.kept_mass = predictor->kept_mass();
  }
  if (result.tokens == 0) throw_user("{}: no token to be predicted in what was chosen", set.path);
  result.seconds = progress.seconds();
  baseline.known = true;
  if (samples) samples(lines);
  return result;
}

bool decodes_by_default(const std::string& task) {
  return task == "retrieval" || task == "answers";
}

ChatFormat open_chat(const EvalOptions& o, const CheckpointInfo& info) {
  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(info);
  chat::Template chat_template = chat::load_template(o.chat_template, *tokenizer);
  return {std::move(chat_template), std::move(tokenizer)};
}

ReplyEnd reply_end(const EvalOptions& o, const ChatFormat& chat, const CheckpointInfo& info) {
  TurnEnd end = turn_end(chat.chat_template, *chat.tokenizer, info);
  return {o.tokens, std::move(end.ids), std::move(end.texts)};
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
  std::optional<ChatFormat> chat;
  Machine machine{model, device, pool, nullptr, {}};
  if (!options.questions.empty()) {
    chat = open_chat(options, model.info());
    machine.chat = &*chat;
    machine.reply_end = reply_end(options, *chat, model.info());
  }
  for (const std::string& path : options.questions)
    sets.push_back(open_conversations(options, path, config, *chat));
  for (const DataSet& set : sets) {
    std::vector<std::string> modes = options.mode;
    if (modes.empty()) modes = {decodes_by_default(set.task) ? "decode" : "train"};
    for (const std::string& mode : modes) {
      Baseline baseline;
      for (const std::string& spec : specs) {
        const Setting setting{mode, spec, mode == "train" ? "" : prefill.empty() ? spec : prefill};
        file.results.push_back(run_one(options, set, setting, machine, baseline, samples));
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
      for (const auto* paths : {&options.data, &options.questions}) {
        for (const std::string& path : *paths) {
          if (!name.empty()) name += "+";
          name += data_set_name(path);
        }
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
