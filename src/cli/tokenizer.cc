#include "data/tokenizer.h"

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

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

constexpr size_t kIoBytes = 1 << 16;

struct EncodeOptions {
  std::string model;
  bool json = false;
  bool add_special = false;
  bool plain = false;
  bool spans = false;

  template <class V>
  void visit(V&& v) {
    v("model", model, "'bytes', a tokenizer.json, a SentencePiece model or a directory with one");
    v("json", json, "texts on the lines are JSON strings");
    v("add_special", add_special, "put around every text what the tokenizer puts there");
    v("plain", plain, "special tokens spelt in a text are text");
    v("spans", spans, "print {\"ids\", \"begin\", \"end\"}: the bytes each token was made from");
  }
};

struct DecodeOptions {
  std::string model;
  bool json = false;

  template <class V>
  void visit(V&& v) {
    v("model", model, "'bytes', a tokenizer.json, a SentencePiece model or a directory with one");
    v("json", json, "print texts as JSON strings");
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

/// Calls body(line, number) for every line of standard input, without its end.
template <class Body>
void for_each_line(Body&& body) {
  std::vector<char> buffer(kIoBytes);
  std::string line;
  int64_t number = 1;
  size_t got = 0;
  while ((got = std::fread(buffer.data(), 1, buffer.size(), stdin)) > 0) {
    std::string_view rest(buffer.data(), got);
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      line.append(rest.substr(0, end));
      body(line, number++);
      line.clear();
      rest.remove_prefix(end + 1);
    }
    line.append(rest);
  }
  if (std::ferror(stdin) != 0) throw_error("standard input cannot be read");
  if (!line.empty()) body(line, number);
}

/// Collects text for standard output.
class Printer {
 public:
  ~Printer() { flush(); }
  std::string& text() { return text_; }
  /// Ends a line. It goes out at once when people read.
  void end_line() {
    text_.push_back('\n');
    if (text_.size() >= kIoBytes || !pending_input()) flush();
  }

 private:
  static bool pending_input() { return isatty(fileno(stdin)) == 0; }
  void flush() {
    std::fwrite(text_.data(), 1, text_.size(), stdout);
    std::fflush(stdout);
    text_.clear();
  }
  std::string text_;
};

template <class T>
void append_list(std::string& out, const std::vector<T>& values) {
  out.push_back('[');
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out.push_back(',');
    out.append(fmt::format_int(values[i]).c_str());
  }
  out.push_back(']');
}

nlohmann::json parse_line(const std::string& line, int64_t number) {
  try {
    return nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception& e) {
    throw_user("standard input, line {}: bad JSON: {}", number, e.what());
  }
}

std::string read_text(const std::string& line, int64_t number) {
  const nlohmann::json value = parse_line(line, number);
  if (!value.is_string()) throw_user("standard input, line {}: a JSON string is needed", number);
  return value.get<std::string>();
}

int run_encode(const std::vector<std::string>& args) {
  EncodeOptions options;
  CommandLine line("tokenizer encode",
                   "Texts on standard input, one a line, to ids as JSON arrays");
  line.options(options);
  if (!line.parse(args)) return 0;
  if (options.spans && options.add_special) {
    throw_user("--spans --add-special: what is put around a text comes from no bytes of it");
  }
  const auto tokenizer = load_tokenizer(options.model);
  const SpecialText special = options.plain ? SpecialText::Plain : SpecialText::Parse;
  Printer printer;
  for_each_line([&](const std::string& given, int64_t number) {
    const std::string parsed = options.json ? read_text(given, number) : std::string();
    const std::string& text = options.json ? parsed : given;
    std::string& out = printer.text();
    if (options.spans) {
      const Encoding e = tokenizer->encode_spans(text, special);
      out += "{\"ids\":";
      append_list(out, e.ids);
      out += ",\"begin\":";
      append_list(out, e.begin);
      out += ",\"end\":";
      append_list(out, e.end);
      out += "}";
    } else {
      std::vector<int32_t> ids =
          options.plain ? tokenizer->encode_spans(text, special).ids : tokenizer->encode(text);
      append_list(out, options.add_special ? tokenizer->add_special(std::move(ids)) : ids);
    }
    printer.end_line();
  });
  return 0;
}

int run_decode(const std::vector<std::string>& args) {
  DecodeOptions options;
  CommandLine line("tokenizer decode", "Ids as JSON arrays on standard input, one a line, to text");
  line.options(options);
  if (!line.parse(args)) return 0;
  const auto tokenizer = load_tokenizer(options.model);
  Printer printer;
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
    const auto replace = nlohmann::json::error_handler_t::replace;
    printer.text() +=
        options.json ? nlohmann::json(decoded).dump(-1, ' ', false, replace) : decoded;
    printer.end_line();
  });
  return 0;
}

int run_tokenizer_train(const std::vector<std::string>& args) {
  TrainCommandOptions options;
  CommandLine line("tokenizer train", "Train a tokenizer whose round trip is exact");
  line.options(options);
  if (!line.parse(args)) return 0;
  catch_interrupts();
  const TokenizerTrainResult r = train_tokenizer(options.train);
  fmt::print("{}: {} tokens ({} reserved symbols), hash {}\n", options.train.out, r.vocab,
             options.train.reserved, r.hash);
  fmt::print("learnt from {} of {} text, {} {}, in {}\n",
             format_bytes(static_cast<double>(r.sample_bytes)),
             format_bytes(static_cast<double>(r.text_bytes)), r.sample_lines,
             options.train.type == "bpe" ? "different words" : "lines", format_duration(r.seconds));
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
        "  train   learn a SentencePiece model or byte-level BPE from text\n"
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
