#include "data/tokenizer.h"

#include <cstdio>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "data/tokenizer_train.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/options.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"

namespace pivot {
namespace {

struct StreamOptions {
  std::string model;
  bool json = false;
  bool add_special = false;

  template <class V>
  void visit(V&& v) {
    v("model", model, "'bytes', a SentencePiece model or a directory that holds a tokenizer");
    v("json", json, "texts on the lines are JSON strings");
    v("add_special", add_special, "encode: put the begin and end tokens around every text");
  }
};

struct TrainCommandOptions {
  TokenizerTrainOptions train;
  std::string json;

  template <class V>
  void visit(V&& v) {
    train.visit(v);
    v("json", json, "write the figures to this file");
  }
};

/// Calls body(line, number) for every line of standard input.
template <class Body>
void for_each_line(Body&& body) {
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) body(line, number);
}

nlohmann::json parse_line(const std::string& line, int64_t number) {
  try {
    return nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception& e) {
    throw_user("standard input, line {}: bad JSON: {}", number, e.what());
  }
}

int run_encode(const std::vector<std::string>& args) {
  StreamOptions options;
  CommandLine line("tokenizer encode",
                   "Texts on standard input, one a line, to ids as JSON arrays");
  line.options(options);
  if (!line.parse(args)) return 0;
  const auto tokenizer = load_tokenizer(options.model);
  for_each_line([&](std::string text, int64_t number) {
    if (options.json) {
      const nlohmann::json value = parse_line(text, number);
      if (!value.is_string()) {
        throw_user("standard input, line {}: a JSON string is needed", number);
      }
      text = value.get<std::string>();
    }
    std::vector<int32_t> ids = tokenizer->encode(text);
    if (options.add_special) {
      if (tokenizer->bos() >= 0) ids.insert(ids.begin(), tokenizer->bos());
      if (tokenizer->eos() >= 0) ids.push_back(tokenizer->eos());
    }
    fmt::print("{}\n", nlohmann::json(ids).dump());
  });
  return 0;
}

int run_decode(const std::vector<std::string>& args) {
  StreamOptions options;
  CommandLine line("tokenizer decode", "Ids as JSON arrays on standard input, one a line, to text");
  line.options(options);
  if (!line.parse(args)) return 0;
  const auto tokenizer = load_tokenizer(options.model);
  for_each_line([&](const std::string& text, int64_t number) {
    const nlohmann::json value = parse_line(text, number);
    std::vector<int32_t> ids;
    for (const auto& id : value) {
      if (!value.is_array() || !id.is_number_integer() || id < 0 || id >= tokenizer->vocab()) {
        throw_user("standard input, line {}: an array of ids from 0 to {} is needed", number,
                   tokenizer->vocab() - 1);
      }
      ids.push_back(id.get<int32_t>());
    }
    const std::string decoded = tokenizer->decode(ids);
    if (!options.json) {
      fmt::print("{}\n", decoded);
      return;
    }
    const auto replace = nlohmann::json::error_handler_t::replace;
    fmt::print("{}\n", nlohmann::json(decoded).dump(-1, ' ', false, replace));
  });
  return 0;
}

int run_tokenizer_train(const std::vector<std::string>& args) {
  TrainCommandOptions options;
  CommandLine line("tokenizer train", "Train a SentencePiece tokenizer whose round trip is exact");
  line.options(options);
  if (!line.parse(args)) return 0;
  catch_interrupts();
  const TokenizerTrainResult r = train_tokenizer(options.train);
  fmt::print("{}: {} pieces ({} reserved symbols), hash {}\n", options.train.out, r.vocab,
             options.train.reserved, r.hash);
  fmt::print("learnt from {} of {} text, {} lines, in {}\n",
             format_bytes(static_cast<double>(r.sample_bytes)),
             format_bytes(static_cast<double>(r.text_bytes)), r.sample_lines,
             format_duration(r.seconds));
  if (!options.json.empty()) {
    const nlohmann::json json = {{"path", options.train.out},
                                 {"hash", r.hash},
                                 {"vocab", r.vocab},
                                 {"reserved", options.train.reserved},
                                 {"documents", r.documents},
                                 {"text_bytes", r.text_bytes},
                                 {"sample_bytes", r.sample_bytes},
                                 {"seconds", r.seconds}};
    write_file_atomically(options.json, json.dump(2) + "\n");
  }
  return 0;
}

int run_tokenizer_info(const std::vector<std::string>& args) {
  std::string path;
  CommandLine line("tokenizer info", "What a tokenizer is");
  line.positional("TOKENIZER", path, "'bytes', a model file or a directory", CommandLine::Required);
  if (!line.parse(args)) return 0;
  const auto t = load_tokenizer(path);
  const auto special = [&](int32_t id) {
    return id < 0 ? std::string("none") : fmt::format("{} {}", id, t->piece(id));
  };
  fmt::print("kind      {}\nhash      {}\nvocab     {}\nbos       {}\neos       {}\nunk       {}\n",
             t->kind(), t->hash(), t->vocab(), special(t->bos()), special(t->eos()),
             special(t->unk()));
  fmt::print("reserved  {}\n", reserved_symbols(*t).size());
  return 0;
}

}  // namespace

int run_tokenizer(const std::vector<std::string>& args) {
  const std::vector<std::string> names = {"train", "encode", "decode", "info"};
  if (args.empty() || args[0] == "--help" || args[0] == "-h") {
    fmt::print(
        "usage: pivot tokenizer train|encode|decode|info ...\n\n"
        "  train   learn a SentencePiece model from text\n"
        "  encode  texts on standard input to ids\n"
        "  decode  ids on standard input to texts\n"
        "  info    what a tokenizer is\n\n"
        "'pivot tokenizer COMMAND --help' explains one.\n");
    return args.empty() ? 2 : 0;
  }
  const std::vector<std::string> rest(args.begin() + 1, args.end());
  if (args[0] == "train") return run_tokenizer_train(rest);
  if (args[0] == "encode") return run_encode(rest);
  if (args[0] == "decode") return run_decode(rest);
  if (args[0] == "info") return run_tokenizer_info(rest);
  throw_user("unknown command 'tokenizer {}'; did you mean '{}'?", args[0],
             nearest_name(args[0], names));
}

}  // namespace pivot
