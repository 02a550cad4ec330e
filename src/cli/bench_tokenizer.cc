#include <algorithm>
#include <chrono>
#include <ctime>
#include <thread>

#include <nlohmann/json.hpp>

#include "data/documents.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/parallel.h"
#include "src/base/units.h"
#include "src/cli/bench_measure.h"
#include "src/cli/command_line.h"

namespace pivot {
namespace {

struct TokenizerBenchOptions {
  std::string model;
  DocumentOptions documents;
  int64_t bytes = 0;
  int rounds = 3;
  int threads = 1;
  std::string json;

  template <class V>
  void visit(V&& v) {
    v("model", model, "'bytes', a tokenizer.json, a SentencePiece model or a directory with one");
    documents.visit(v);
    v("bytes", bytes, "stop reading after this much text; 0: all of it");
    v("rounds", rounds, "times that everything is encoded");
    v("threads", threads, "documents encoded at a time; 0 takes all processors");
    v("json", json, "also write the results to this file");
  }
};

struct Round {
  double seconds = 0;
  double cpu_seconds = 0;  // of all threads: what counts on a busy machine
  int64_t tokens = 0;
};

double cpu_now() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

Round measure(const Tokenizer& tokenizer, const std::vector<std::string>& texts, ThreadPool& pool) {
  std::vector<int64_t> counts(texts.size());
  const auto start = std::chrono::steady_clock::now();
  const double cpu = cpu_now();
  const auto one = [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    counts[at] = static_cast<int64_t>(tokenizer.encode(texts[at]).size());
  };
  if (pool.size() == 1) {
    for (size_t i = 0; i < texts.size(); ++i) one(static_cast<int64_t>(i));
  } else {
    pool.for_each(static_cast<int64_t>(texts.size()), [&](int64_t i, int) { one(i); });
  }
  Round r;
  r.cpu_seconds = cpu_now() - cpu;
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const int64_t n : counts) r.tokens += n;
  return r;
}

}  // namespace

int run_bench_tokenizer(const std::vector<std::string>& args) {
  TokenizerBenchOptions options;
  CommandLine line("bench tokenizer", "Encode documents, one call each, and time it");
  line.options(options);
  if (!line.parse(args)) return 0;
  if (options.rounds < 1) throw_user("--rounds {}: must be at least 1", options.rounds);
  const auto tokenizer = load_tokenizer(options.model);
  std::vector<std::string> texts;
  int64_t bytes = 0;
  DocumentReader reader(options.documents);
  Document document;
  while ((options.bytes == 0 || bytes < options.bytes) && reader.next(document)) {
    bytes += static_cast<int64_t>(document.text.size());
    texts.push_back(std::move(document.text));
  }
  if (texts.empty()) throw_user("the input holds no text");
  ThreadPool pool(options.threads);
  nlohmann::json rounds = nlohmann::json::array();
  Round best;
  for (int i = 0; i < options.rounds; ++i) {
    const Round r = measure(*tokenizer, texts, pool);
    if (i == 0 || r.cpu_seconds < best.cpu_seconds) best = r;
    rounds.push_back({{"seconds", r.seconds}, {"cpu_seconds", r.cpu_seconds}});
    const auto mb = static_cast<double>(bytes) * 1e-6;
    fmt::print(
        "round {}: {:.1f} MB in {:.2f} s ({:.2f} s of CPU): {:.1f} MB/s, {:.1f} MB/s of CPU\n",
        i + 1, mb, r.seconds, r.cpu_seconds, mb / r.seconds, mb / r.cpu_seconds);
  }
  const nlohmann::json result = {
      {"model", options.model},
      {"documents", texts.size()},
      {"bytes", bytes},
      {"tokens", best.tokens},
      {"threads", pool.size()},
      {"rounds", rounds},
      {"mb_per_second", static_cast<double>(bytes) * 1e-6 / best.seconds},
      {"mb_per_cpu_second", static_cast<double>(bytes) * 1e-6 / best.cpu_seconds},
      {"tokens_per_second", static_cast<double>(best.tokens) / best.seconds}};
  fmt::print("{} documents, {} tokens: {:.1f} M tokens/s, {:.2f} bytes a token\n", texts.size(),
             best.tokens, static_cast<double>(best.tokens) * 1e-6 / best.seconds,
             static_cast<double>(bytes) / static_cast<double>(best.tokens));
  if (!options.json.empty()) write_file_atomically(options.json, result.dump(2) + "\n");
  return 0;
}

}  // namespace pivot
