#include "data/build.h"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <utility>

#include <nlohmann/json.hpp>

#include "build_info.h"
#include "data/dataset.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/base/parallel.h"
#include "src/base/philox.h"
#include "src/base/units.h"

namespace pivot {
namespace {

constexpr int64_t kGroupBytes = 1 << 22;  // documents are encoded in parallel, this much at a time
constexpr size_t kGroupDocuments = 4096;
constexpr uint32_t kSplitSubstream = 0xFFFFFFFEU;

std::string provenance(const DocumentReader& reader) {
  nlohmann::json files = nlohmann::json::array();
  for (const std::string& path : reader.files()) {
    std::error_code error;
    files.push_back({{"path", path}, {"bytes", std::filesystem::file_size(path, error)}});
  }
  return nlohmann::json{{"pivot", kVersion}, {"git", kGitHash}, {"files", files}}.dump();
}

std::string parameters(BuildOptions options) {
  nlohmann::json json = nlohmann::json::object();
  for (const OptionField& field : option_fields(options)) json[field.key] = field.print();
  return json.dump();
}

double bits(const std::vector<int64_t>& tokens, const std::vector<int64_t>& model) {
  double total = static_cast<double>(model.size());  // one of each
  for (const int64_t c : model) total += static_cast<double>(c);
  double sum = 0;
  for (size_t id = 0; id < tokens.size(); ++id) {
    sum -=
        static_cast<double>(tokens[id]) * std::log2((static_cast<double>(model[id]) + 1) / total);
  }
  return sum;
}

/// One part being written, with its token counts.
struct Part {
  Part(const std::string& directory, const ShardInfo& info, const std::vector<uint16_t>& lengths,
       int64_t shard_tokens)
      : writer(directory, info, lengths, shard_tokens),
        counts(static_cast<size_t>(info.vocab), 0) {}

  void add(const std::vector<int32_t>& tokens, int64_t text_bytes) {
    writer.add(tokens, text_bytes);
    for (const int32_t id : tokens) ++counts[static_cast<size_t>(id)];
    bytes += text_bytes;
  }
  PartResult result() const { return {writer.documents(), writer.tokens(), bytes, writer.files()}; }

  ShardWriter writer;
  std::vector<int64_t> counts;
  int64_t bytes = 0;
};

void check_parts(const BuildOptions& o, const Part& train, const Part& validation,
                 const DocumentCounts& counts) {
  if (counts.documents == 0) throw_user("the input holds no text ({} empty)", counts.empty);
  if (o.validation.num == 0) return;
  if (train.writer.documents() > 0 && validation.writer.documents() > 0) return;
  throw_user(
      "{} documents cannot be split into training and {} validation: cut them with --split-on or "
      "--max-document, or change --validation",
      counts.documents, to_string(o.validation));
}

/// Reads the next documents, up to a group's size.
std::vector<std::string> next_group(DocumentReader& reader) {
  std::vector<std::string> group;
  int64_t bytes = 0;
  Document document;
  while (bytes < kGroupBytes && group.size() < kGroupDocuments && reader.next(document)) {
    bytes += static_cast<int64_t>(document.text.size());
    group.push_back(std::move(document.text));
  }
  return group;
}

}  // namespace

bool is_validation_document(int64_t index, Rational share) {
  const Philox random(0, Stream::DataOrder, kSplitSubstream);
  return static_cast<int64_t>(random.below(static_cast<uint64_t>(share.den),
                                           static_cast<uint64_t>(index))) < share.num;
}

BuildResult build_dataset(const BuildOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.validation.num >= options.validation.den) {
    throw_user("--validation {}: must be below 100%", to_string(options.validation));
  }
  const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(options.tokenizer);
  if (options.eos && tokenizer->eos() < 0) {
    throw_user("tokenizer {} has no end-of-text token: use --eos false", options.tokenizer);
  }
  DocumentReader reader(options.documents);
  DatasetDirectory directory(options.out, options.overwrite ? DatasetDirectory::Existing::Replace
                                                            : DatasetDirectory::Existing::Refuse);
  ShardInfo info = shard_info(*tokenizer);
  info.parameters = parameters(options);
  info.provenance = provenance(reader);
  const std::vector<uint16_t> lengths = token_byte_table(*tokenizer);
  Part train(directory.train(), info, lengths, options.shard_tokens);
  Part validation(directory.validation(), info, lengths, options.shard_tokens);

  ThreadPool pool;
  Progress progress("encoding");
  int64_t index = 0;
  for (;;) {
    const std::vector<std::string> group = next_group(reader);
    if (group.empty()) break;
    std::vector<std::vector<int32_t>> encoded(group.size());
    pool.for_each(static_cast<int64_t>(group.size()), [&](int64_t item, int) {
      const size_t i = static_cast<size_t>(item);
      encoded[i] = tokenizer->encode(group[i]);
      if (options.eos) encoded[i].push_back(tokenizer->eos());
    });
    for (size_t i = 0; i < group.size(); ++i) {
      Part& part = is_validation_document(index++, options.validation) ? validation : train;
      part.add(encoded[i], static_cast<int64_t>(group[i].size()));
    }
    progress.update(
        reader.progress(),
        fmt::format("{} tokens", format_si(static_cast<double>(train.writer.tokens() +
                                                               validation.writer.tokens()))));
  }
  check_parts(options, train, validation, reader.counts());
  train.writer.finish();
  validation.writer.finish();
  directory.publish(*tokenizer);

  BuildResult result;
  result.train = train.result();
  result.validation = validation.result();
  result.input = reader.counts();
  result.tokenizer_hash = tokenizer->hash();
  result.vocab = tokenizer->vocab();
  const Part& measured = validation.writer.tokens() > 0 ? validation : train;
  const double cost = bits(measured.counts, train.counts);
  result.unigram_bits_per_byte = cost / static_cast<double>(measured.bytes);
  result.unigram_bits_per_token = cost / static_cast<double>(measured.writer.tokens());
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::string to_json(const BuildResult& r) {
  const auto part = [](const PartResult& p) {
    return nlohmann::json{{"documents", p.documents},
                          {"tokens", p.tokens},
                          {"bytes", p.bytes},
                          {"shards", p.files.size()}};
  };
  return nlohmann::json{{"train", part(r.train)},
                        {"validation", part(r.validation)},
                        {"input",
                         {{"documents", r.input.documents},
                          {"bytes", r.input.bytes},
                          {"empty", r.input.empty},
                          {"cut", r.input.cut},
                          {"bad_lines", r.input.bad},
                          {"replaced_utf8", r.input.replaced}}},
                        {"tokenizer_hash", r.tokenizer_hash},
                        {"vocab", r.vocab},
                        {"unigram_bits_per_byte", r.unigram_bits_per_byte},
                        {"unigram_bits_per_token", r.unigram_bits_per_token},
                        {"seconds", r.seconds}}
             .dump(2) +
         "\n";
}

}  // namespace pivot
