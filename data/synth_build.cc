#include "data/synth_build.h"

#include <chrono>

#include <nlohmann/json.hpp>

#include "build_info.h"
#include "data/dataset.h"
#include "src/base/check.h"
#include "src/base/options.h"
#include "src/base/parallel.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr int64_t kGroup = 1024;  // documents generated in parallel at a time

std::string parameters(SynthOptions options) {
  nlohmann::json json = nlohmann::json::object();
  for (const OptionField& field : option_fields(options)) json[field.key] = field.print();
  return json.dump();
}

struct Range {
  uint64_t first = 0;
  int64_t count = 0;
};

/// Generates documents in parallel and writes them in order; returns the number of answer tokens.
int64_t write_part(const SynthTask& task, const SynthOptions& options, Range range,
                   ShardWriter& writer, const std::vector<uint16_t>& lengths, Progress& progress) {
  ThreadPool pool;
  int64_t answers = 0;
  for (int64_t done = 0; done < range.count;) {
    std::vector<SynthDocument> group(static_cast<size_t>(std::min(kGroup, range.count - done)));
    pool.for_each(static_cast<int64_t>(group.size()), [&](int64_t i, int) {
      group[static_cast<size_t>(i)] = task.generate(range.first + static_cast<uint64_t>(done + i));
    });
    for (const SynthDocument& d : group) {
      int64_t bytes = 0;
      for (const int32_t id : d.tokens) bytes += lengths[static_cast<size_t>(id)];
      for (const TokenSpan s : d.answers) answers += s.end - s.begin;
      if (options.learn == "all") {
        writer.add(d.tokens, bytes);
      } else {
        writer.add(d.tokens, bytes, ShardWriter::Mask::Spans, d.answers);
      }
    }
    done += static_cast<int64_t>(group.size());
    progress.update(static_cast<double>(done) / static_cast<double>(range.count),
                    fmt::format("{} documents", done));
  }
  writer.finish();
  return answers;
}

}  // namespace

SynthBuildResult build_synth(const SynthBuildOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.count < 0 || options.validation_count < 0 ||
      options.count + options.validation_count == 0) {
    throw_user("--count or --validation-count must be positive");
  }
  if (options.count > static_cast<int64_t>(kValidationIndex) ||
      options.validation_count > static_cast<int64_t>(kValidationIndex)) {
    throw_user("at most {} documents can be generated from one seed", kValidationIndex);
  }
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(options.tokenizer);
  const std::unique_ptr<SynthTask> task = make_synth_task(options.synth, *tokenizer);
  DatasetDirectory directory(options.out, options.overwrite ? DatasetDirectory::Existing::Replace
                                                            : DatasetDirectory::Existing::Refuse);
  ShardInfo info = shard_info(*tokenizer);
  info.keep_whole = true;
  info.task = options.synth.task;
  info.parameters = parameters(options.synth);
  info.provenance = nlohmann::json{{"pivot", kVersion}, {"git", kGitHash}}.dump();
  const std::vector<uint16_t> lengths = token_byte_table(*tokenizer);
  Progress progress("generating");
  ShardWriter train(directory.train(), info, lengths, options.shard_tokens);
  ShardWriter validation(directory.validation(), info, lengths, options.shard_tokens);
  SynthBuildResult result;
  result.answer_tokens =
      write_part(*task, options.synth, {0, options.count}, train, lengths, progress) +
      write_part(*task, options.synth, {kValidationIndex, options.validation_count}, validation,
                 lengths, progress);
  directory.publish(*tokenizer);
  result.train_documents = train.documents();
  result.train_tokens = train.tokens();
  result.validation_documents = validation.documents();
  result.validation_tokens = validation.tokens();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::string to_json(const SynthBuildResult& r) {
  return nlohmann::json{{"train", {{"documents", r.train_documents}, {"tokens", r.train_tokens}}},
                        {"validation",
                         {{"documents", r.validation_documents}, {"tokens", r.validation_tokens}}},
                        {"answer_tokens", r.answer_tokens},
                        {"seconds", r.seconds}}
             .dump(2) +
         "\n";
}

}  // namespace pivot
