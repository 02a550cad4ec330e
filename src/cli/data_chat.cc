// pivot data chat: conversations to masked token shards.
#include <cstdio>

#include "checkpoints/model_source.h"
#include "data/chat_build.h"
#include "data/chat_encode.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/session.h"

namespace pivot {
namespace {

struct DataChatFlags {
  ChatDataOptions chat;
  std::string model;
  std::string tokenizer;
  int64_t context = 0;
  std::string out;
  int64_t shard_tokens = int64_t{64} << 20;
  bool overwrite = false;
  int threads = 0;
  std::string json;

  template <class V>
  void visit(V&& v) {
    v("input", chat.train,
      "conversations: JSON or JSON lines (.gz .zst too), directories or globs");
    v("model", model, "take tokenizer, template and context of this model");
    v("tokenizer", tokenizer, "a tokenizer, where there is no model to take one from");
    chat.visit_rest(v);
    v("context", context,
      "most tokens of a conversation; 0 takes the model's context (any number without a model)");
    v("out", out, "directory to write: train/, validation/ and the tokenizer");
    v("shard_tokens", shard_tokens, "tokens of one shard file (a shard is held in memory)");
    v("overwrite", overwrite, "replace an existing data set");
    v("threads", threads, "CPU threads; 0 takes all");
    v("json", json, "write the figures to this file");
  }
};

/// Also sets the context where a model gives it.
std::unique_ptr<Tokenizer> open_tokenizer(DataChatFlags& o) {
  if (o.model.empty() == o.tokenizer.empty()) {
    throw_user("name either a model with --model or a tokenizer with --tokenizer");
  }
  if (o.model.empty()) return load_tokenizer(o.tokenizer);
  const auto source = open_model(o.model);
  if (o.context == 0) o.context = source->info().model.context;
  return tokenizer_of(source->info());
}

}  // namespace

int run_data_chat(const std::vector<std::string>& args) {
  DataChatFlags options;
  options.chat.validation.clear();
  CommandLine line("data chat", "Conversations to token shards; what the assistant says is learnt");
  line.options(options);
  line.footer(
      "Example: pivot data chat --input talks.jsonl --model DIR --validation 5% --out data/talks");
  if (!line.parse(args)) return 0;
  check_chat_options(options.chat);
  if (options.context < 0) throw_user("--context {}: must not be negative", options.context);
  catch_interrupts();
  const auto tokenizer = open_tokenizer(options);
  const chat::Template chat_template = chat::load_template(options.chat.chat_template, *tokenizer);
  ThreadPool pool(options.threads);
  const ChatBuildResult result = build_chat(options.chat,
                                            {.tokenizer = *tokenizer,
                                             .chat_template = chat_template,
                                             .context = options.context,
                                             .out = options.out,
                                             .shard_tokens = options.shard_tokens,
                                             .overwrite = options.overwrite},
                                            pool);
  std::fputs(to_text(result).c_str(), stdout);
  fmt::print("wrote {} in {}\n", options.out, format_duration(result.seconds));
  if (!options.json.empty()) write_file_atomically(options.json, to_json(result));
  return 0;
}

}  // namespace pivot
