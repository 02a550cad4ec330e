#include "src/eval/data_set.h"

#include <algorithm>
#include <filesystem>

#include "src/base/check.h"
#include "src/base/log.h"

namespace pivot::eval {
namespace {

void check_origin(const Corpus& corpus, const std::string& path, const ModelConfig& config,
                  const ModelOrigin& origin) {
  if (corpus.tokenizer_hash() != origin.tokenizer_hash) {
    throw_user(
        "{}: made with tokenizer {}, the model {} uses {}; build the shard with the model's "
        "tokenizer ('pivot data build --tokenizer {}')",
        path, corpus.tokenizer_hash(), origin.path, origin.tokenizer_hash, origin.path);
  }
  if (corpus.vocab() > config.vocab) {
    throw_user("{}: token ids up to {}, the model has a vocabulary of {}", path, corpus.vocab() - 1,
               config.vocab);
  }
}

void measure(DataSet& set) {
  for (const int64_t i : set.items) {
    Item item = set.corpus->item(i);
    for (EvalDocument& d : item.documents) {
      const auto length = static_cast<int64_t>(d.tokens.size());
      set.longest = std::max(set.longest, length);
      set.tokens += length;
      if (set.task == "retrieval") set.documents.push_back(std::move(d));
    }
  }
}

void warn_if_long(const DataSet& set, const ModelConfig& config) {
  if (set.longest <= config.context) return;
  log::warning("{}: documents of up to {} tokens, the model was made for {}", set.path, set.longest,
               config.context);
}

}  // namespace

std::string data_set_name(const std::string& path) {
  std::filesystem::path clean = std::filesystem::path(path).lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  std::string name = clean.stem().string();
  // recall/validation/shard-00000.h5 is called after what it is, not after its place in it.
  while ((name == "validation" || name == "test" || name.starts_with("shard-")) &&
         clean.parent_path().has_filename()) {
    clean = clean.parent_path();
    name = clean.stem().string();
  }
  return name;
}

DataSet open_data_set(const EvalOptions& o, const std::string& path, const ModelConfig& config,
                      const ModelOrigin& origin) {
  DataSet set;
  set.path = path;
  set.name = data_set_name(path);
  set.task = o.task;
  if (set.task != "perplexity") {
    set.corpus = open_documents({path});
    check_origin(*set.corpus, path, config, origin);
    if (set.task == "retrieval" && !set.corpus->masked()) {
      throw_user("{}: its loss mask marks no answers; use --task perplexity", path);
    }
    set.task = set.corpus->masked() ? "retrieval" : "perplexity";
  }
  if (set.task == "perplexity") {
    const int64_t seq_len = o.seq_len > 0 ? o.seq_len : config.context;
    set.corpus = open_rows({path}, seq_len);
    check_origin(*set.corpus, path, config, origin);
  }
  set.items = choose_items(set.corpus->size(), o.limit, o.seed);
  measure(set);
  warn_if_long(set, config);
  return set;
}

DataSet open_conversations(const EvalOptions& o, const std::string& path, const ModelConfig& config,
                           const ChatFormat& format) {
  DataSet set;
  set.path = path;
  set.name = data_set_name(path);
  set.task = o.task == "dialogues" ? "dialogues" : "answers";
  if (set.task == "dialogues") {
    set.corpus = open_dialogues(path, format);
    set.items = choose_items(set.corpus->size(), o.limit, o.seed);
    measure(set);
  } else {
    std::vector<Question> all = read_questions(path, format);
    set.items = choose_items(static_cast<int64_t>(all.size()), o.limit, o.seed);
    for (const int64_t i : set.items) {
      Question& question = set.questions.emplace_back(std::move(all[static_cast<size_t>(i)]));
      const auto length = static_cast<int64_t>(question.prompt.size());
      set.longest = std::max(set.longest, length + o.tokens);
      set.tokens += length;
    }
  }
  warn_if_long(set, config);
  return set;
}

}  // namespace pivot::eval
