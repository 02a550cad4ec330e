#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

#include "data/build.h"
#include "data/chat_show.h"
#include "data/loader.h"
#include "data/shard.h"
#include "data/statistics.h"
#include "data/synth_build.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/options.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"

namespace pivot {
namespace {

template <class T>
struct WithJson {
  T inner;
  std::string json;

  template <class V>
  void visit(V&& v) {
    inner.visit(v);
    v("json", json, "write the figures to this file");
  }
  void write(const std::string& text) const {
    if (!json.empty()) write_file_atomically(json, text);
  }
};

struct NoOptions {
  template <class V>
  void visit(V&&) {}
};

struct ShowOptions {
  int64_t doc = -1;
  int64_t row = -1;
  int64_t seq_len = 1024;
  int64_t limit = 2048;
  std::string as = "auto";
  std::string pack = "fill";
  std::string tokenizer;

  template <class V>
  void visit(V&& v) {
    v("doc", doc, "this document of the first shard");
    v("row", row, "this packed row, as training without shuffling would see it");
    v("seq_len", seq_len, "tokens of a row");
    v("limit", limit, "show at most this many tokens of a document");
    v("as", as, "tokens, one by one, or chat: text as it reads; auto takes chat for conversations");
    v("pack", pack, "how rows are packed: fill or best (as data.pack)");
    v("tokenizer", tokenizer, "empty takes the one beside the shards");
  }
};

int run_build(const std::vector<std::string>& args) {
  WithJson<BuildOptions> options;
  CommandLine line("data build", "Text to token shards");
  line.options(options);
  line.footer(
      "Example: pivot data build --input notes/ --tokenizer tok.model --validation 2% --out "
      "data/notes");
  if (!line.parse(args)) return 0;
  catch_interrupts();
  const BuildResult r = build_dataset(options.inner);
  const auto part = [](const char* name, const PartResult& p) {
    fmt::print("{:<11} {:>9} documents  {:>12} tokens  {:>10}  {} shard{}\n", name, p.documents,
               p.tokens, format_bytes(static_cast<double>(p.bytes)), p.files.size(),
               p.files.size() == 1 ? "" : "s");
  };
  part("train", r.train);
  part("validation", r.validation);
  if (r.input.empty + r.input.bad + r.input.replaced + r.input.cut > 0) {
    fmt::print(
        "skipped {} empty documents and {} bad lines, replaced {} invalid UTF-8 sequences, "
        "made {} cuts at --max-document\n",
        r.input.empty, r.input.bad, r.input.replaced, r.input.cut);
  }
  fmt::print("unigram entropy {:.4f} bits per byte, {:.4f} per token ({})\n",
             r.unigram_bits_per_byte, r.unigram_bits_per_token,
             r.validation.tokens > 0 ? "of the validation set" : "of the training set");
  fmt::print("wrote {} in {}\n", options.inner.out, format_duration(r.seconds));
  options.write(to_json(r));
  return 0;
}

int run_synth(const std::vector<std::string>& args) {
  WithJson<SynthBuildOptions> options;
  CommandLine line("data synth", "Generated tasks as token shards");
  line.options(options);
  line.footer(
      "Example: pivot data synth --task mqar --count 20000 --validation-count 500 --length "
      "256 --pairs 16 --tokenizer tok.model --out data/mqar");
  if (!line.parse(args)) return 0;
  catch_interrupts();
  const SynthBuildResult r = build_synth(options.inner);
  fmt::print(
      "train {} documents, {} tokens; validation {} documents, {} tokens; {} answer tokens\n",
      r.train_documents, r.train_tokens, r.validation_documents, r.validation_tokens,
      r.answer_tokens);
  fmt::print("wrote {} in {}\n", options.inner.out, format_duration(r.seconds));
  options.write(to_json(r));
  return 0;
}

std::vector<std::string> all_shards(const std::vector<std::string>& sources) {
  std::vector<std::string> paths;
  for (const std::string& source : sources) {
    for (const std::string& path : resolve_shards(source)) paths.push_back(path);
  }
  return paths;
}

int run_stats(const std::vector<std::string>& args) {
  WithJson<NoOptions> options;
  std::vector<std::string> paths;
  CommandLine line("data stats", "Count what is in shards");
  line.options(options);
  line.positional("PATH", paths, "shards, directories or globs", CommandLine::Required);
  if (!line.parse(args)) return 0;
  const ShardStatistics statistics = shard_statistics(all_shards(paths));
  fmt::print("{}", to_table(statistics));
  options.write(to_json(statistics));
  return 0;
}

int run_verify(const std::vector<std::string>& args) {
  NoOptions options;
  std::vector<std::string> paths;
  CommandLine line("data verify", "Check every checksum and range; exit 2 names the damage");
  line.options(options);
  line.positional("PATH", paths, "shards, directories or globs", CommandLine::Required);
  if (!line.parse(args)) return 0;
  for (const std::string& path : all_shards(paths)) {
    const Shard shard(path);
    shard.verify();
    require_tokenizer(shard, *load_tokenizer(tokenizer_beside({path})));
    fmt::print("{}: sound ({} documents, {} tokens, {})\n", path, shard.documents(), shard.tokens(),
               shard.content_hash());
  }
  return 0;
}

Style style_of_stdout() {
  const bool color = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return color ? Style::Color : Style::Plain;
}

/// Conversations are masked and whole, and nobody generated them.
bool shows_chat(const std::string& as, const ShardInfo& info, bool masked) {
  if (as == "auto") return masked && info.keep_whole && info.task.empty();
  if (as != "tokens" && as != "chat") throw_user("--as {}: tokens, chat or auto", as);
  return as == "chat";
}

std::string show_text(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                      std::span<const uint8_t> learnt) {
  return show_chat(chat_runs(tokenizer, tokens, learnt), style_of_stdout());
}

void show_document(const Shard& shard, const Tokenizer& tokenizer, int64_t index,
                   const ShowOptions& options) {
  std::vector<int32_t> tokens = shard.document(index);
  std::vector<uint8_t> learnt(tokens.size());
  shard.read_mask(shard.offsets()[static_cast<size_t>(index)], learnt);
  const size_t shown = std::min(tokens.size(), static_cast<size_t>(options.limit));
  const std::span ids = std::span(tokens).first(shown);
  const std::span marks = std::span(learnt).first(shown);
  fmt::print("document {} ({} tokens, {} learnt)\n{}\n", index, tokens.size(),
             std::count(learnt.begin(), learnt.end(), 1),
             shows_chat(options.as, shard.info(), shard.masked())
                 ? show_text(tokenizer, ids, marks)
                 : show_tokens(tokenizer, ids, marks, style_of_stdout(), index));
  if (shown < tokens.size()) fmt::print("... {} more tokens (--limit)\n", tokens.size() - shown);
}

int run_show(const std::vector<std::string>& args) {
  ShowOptions options;
  std::string path;
  CommandLine line("data show", "Tokens by document, with those that are learnt marked");
  line.options(options);
  line.positional("PATH", path, "shard, directory or glob", CommandLine::Required);
  line.footer(
      "On a terminal targets are bold green and special tokens of conversations inverse; elsewhere "
      "(or with NO_COLOR) targets are in [brackets], learnt text of conversations in {+ +}.");
  if (!line.parse(args)) return 0;
  if (options.limit < 1) throw_user("--limit {}: must be positive", options.limit);
  const Shard shard(resolve_shards(path).front());
  const auto tokenizer =
      load_tokenizer(options.tokenizer.empty() ? tokenizer_beside({path}) : options.tokenizer);
  require_tokenizer(shard, *tokenizer);
  if (options.row >= 0) {
    DataOptions data;
    data.seq_len = options.seq_len;
    data.pack = options.pack;
    const auto loader = open_loader({path}, row_layout(data), 0, LoaderOrder::Sequential);
    fmt::print("{}", show_batch(*tokenizer, loader->batch(options.row, 1), style_of_stdout()));
    return 0;
  }
  if (options.doc >= shard.documents()) {
    throw_user("--doc {}: {} holds documents 0 to {}", options.doc, shard.path(),
               shard.documents() - 1);
  }
  const int64_t first = options.doc >= 0 ? options.doc : 0;
  const int64_t last = options.doc >= 0 ? options.doc : std::min<int64_t>(2, shard.documents() - 1);
  for (int64_t d = first; d <= last; ++d) show_document(shard, *tokenizer, d, options);
  return 0;
}

}  // namespace

int run_data(const std::vector<std::string>& args) {
  const std::vector<std::string> names = {"build", "chat",  "render", "synth",
                                          "show",  "stats", "verify"};
  if (args.empty() || args[0] == "--help" || args[0] == "-h") {
    fmt::print(
        "usage: pivot data build|chat|render|synth|show|stats|verify ...\n\n"
        "  build   text to token shards\n"
        "  chat    conversations to token shards with masks\n"
        "  render  what a chat template makes of conversations\n"
        "  synth   generated tasks as token shards\n"
        "  show    tokens by document, targets marked\n"
        "  stats   count what is in shards\n"
        "  verify  check every checksum\n\n"
        "'pivot data COMMAND --help' explains one.\n");
    return args.empty() ? 2 : 0;
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (args[0] == "build") return run_build(rest);
  if (args[0] == "chat") return run_data_chat(rest);
  if (args[0] == "render") return run_data_render(rest);
  if (args[0] == "synth") return run_synth(rest);
  if (args[0] == "show") return run_show(rest);
  if (args[0] == "stats") return run_stats(rest);
  if (args[0] == "verify") return run_verify(rest);
  throw_user("unknown command 'data {}'; did you mean '{}'?", args[0],
             nearest_name(args[0], names));
}

}  // namespace pivot
