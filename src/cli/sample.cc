// pivot sample: continue a prompt.
#include <cstdio>
#include <iostream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/interrupt.h"
#include "src/base/log.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/generate.h"
#include "src/decode/session.h"
#include "src/decode/turn_end.h"

namespace pivot {
namespace {

struct SampleOptions {
  SessionOptions session;
  std::string prompt;
  std::string prompt_file;
  bool bos = false;
  bool chat = false;
  std::string chat_template;
  int64_t tokens = 128;
  int n = 1;
  std::vector<std::string> stop;
  bool echo = false;
  bool logprobs = false;
  std::string json;
  SamplerOptions sampler;

  template <class V>
  void visit(V&& v) {
    session.visit(v);
    v("prompt", prompt, "text to continue");
    v("prompt_file", prompt_file, "file with the text to continue");
    v("bos", bos, "begin with the tokenizer's beginning-of-text token");
    v("chat", chat, "the prompt is a user's message: it is answered by the chat template");
    v("template", chat_template,
      "--chat: name of a built-in chat template or a file of Jinja source; empty takes the "
      "model's");
    v("tokens", tokens, "most tokens to generate");
    v("n", n, "samples of the same prompt");
    v("stop", stop,
      "texts that end a sample (\\n, \\t, \\\\ and \\x2c for a comma are understood)");
    v("echo", echo, "print the prompt before its continuation");
    v("logprobs", logprobs, "print every token with its log-probability");
    v("json", json, "write samples, timing and kept mass to this file");
    sampler.visit(v);
  }
};

std::string read_prompt(const SampleOptions& options) {
  if (!options.prompt.empty() && !options.prompt_file.empty()) {
    throw_user("give --prompt or --prompt-file, not both");
  }
  if (!options.prompt.empty()) return options.prompt;
  if (!options.prompt_file.empty()) return read_file(options.prompt_file);
  if (options.bos) return "";
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

// The escapes of --stop, which cannot be typed in every shell.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view rest = std::string_view(text).substr(i);
    if (rest.substr(0, 4) == "\\x2c") {
      out += ',';
      i += 3;
    } else if (rest.size() > 1 && rest[0] == '\\') {
      const char next = rest[1];
      out += next == 'n' ? '\n' : next == 't' ? '\t' : next;
      i += 1;
    } else {
      out += text[i];
    }
  }
  return out;
}

// A message that was piped in ends with the line end of `echo`, which is no part of it.
std::string without_line_end(const std::string& text) {
  return text.ends_with('\n') ? text.substr(0, text.size() - 1) : text;
}

std::vector<int32_t> text_prompt(const SampleOptions& options, const Tokenizer& tokenizer,
                                 const std::string& prompt) {
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (options.bos) {
    if (tokenizer.bos() < 0) throw_user("--bos: this tokenizer has no beginning-of-text token");
    ids.insert(ids.begin(), tokenizer.bos());
  }
  return ids;
}

// A conversation of one message; adds to `generation` what ends the answer.
std::vector<int32_t> chat_prompt(const SampleOptions& options, const Session& session,
                                 const std::string& prompt, GenerateOptions& generation) {
  const Tokenizer& tokenizer = session.tokenizer();
  const chat::Template chat_template = chat::load_template(options.chat_template, tokenizer);
  const TurnEnd end = turn_end(chat_template, tokenizer, session.model().info());
  generation.end_ids = end.ids;
  generation.stop.insert(generation.stop.end(), end.texts.begin(), end.texts.end());
  chat::Conversation conversation;
  conversation.messages.push_back(
      {.role = "user", .content = without_line_end(prompt), .extra = ""});
  chat::RenderOptions render = chat::render_options(tokenizer);
  render.add_generation_prompt = true;
  return chat::tokenize(chat_template, conversation, render, tokenizer).ids;
}

void print_logprobs(const Generation& sample, const Tokenizer& tokenizer) {
  for (size_t i = 0; i < sample.ids.size(); ++i) {
    fmt::print("{:>4} {:>7} {:>9.4f}  {}\n", i, sample.ids[i], double{sample.logprobs[i]},
               tokenizer.piece(sample.ids[i]));
  }
}

void print_samples(const GenerateResult& result, const SampleOptions& options,
                   const Tokenizer& tokenizer, const std::string& prompt) {
  for (size_t i = 0; i < result.samples.size(); ++i) {
    const Generation& sample = result.samples[i];
    if (options.n > 1) {
      fmt::print("--- sample {} of {}: {} tokens, {}\n{}{}\n", i + 1, options.n, sample.ids.size(),
                 to_string(sample.finish), options.echo ? prompt : "", sample.text);
    } else {
      fmt::print("\n");  // its text was streamed
    }
    if (options.logprobs) print_logprobs(sample, tokenizer);
  }
}

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

nlohmann::ordered_json to_json(const GenerateResult& result, const SampleOptions& options,
                               Session& session, const std::string& prompt) {
  nlohmann::ordered_json samples = nlohmann::ordered_json::array();
  for (const Generation& s : result.samples) {
    samples.push_back({{"text", s.text},
                       {"finish", to_string(s.finish)},
                       {"ids", s.ids},
                       {"logprobs", s.logprobs}});
  }
  SamplerOptions sampler = options.sampler;
  nlohmann::ordered_json sampling;
  for (const OptionField& field : option_fields(sampler)) {
    sampling[field.key] = nlohmann::ordered_json::parse(field.print());
  }
  const GenerateTiming& t = result.timing;
  return {{"model", session.model().path()},
          {"trained_attn", session.model().info().attention},
          {"attn", session.attention()},
          {"prefill", session.prefill_attention()},
          {"prompt", prompt},
          {"sampler", sampling},
          {"samples", samples},
          {"prompt_tokens", t.prompt_tokens},
          {"decoded_tokens", t.decoded_tokens},
          {"prefill_seconds", t.prefill_seconds},
          {"decode_seconds", t.decode_seconds},
          {"prefill_tokens_per_second", rate(t.prompt_tokens, t.prefill_seconds)},
          {"decode_tokens_per_second", rate(t.decoded_tokens, t.decode_seconds)},
          {"kept_mass", session.engine().kept_mass()}};
}

}  // namespace

int run_sample(const std::vector<std::string>& args) {
  SampleOptions options;
  CommandLine line("sample", "Continue a prompt with a trained model");
  line.options(options);
  line.footer(
      "The prompt is --prompt, --prompt-file or standard input, as it is, line ends included "
      "(--chat: without the last one).\n"
      "Text goes to standard output, what was used and how fast it was to standard error.");
  if (!line.parse(args)) return 0;
  if (options.n < 1) throw_user("--n {} must be at least 1", options.n);
  if (options.chat && options.bos) throw_user("--bos: a chat template begins the text itself");
  if (!options.chat && !options.chat_template.empty()) throw_user("--template needs --chat");
  validate(options.sampler);
  catch_interrupts();

  Session session(options.session, options.n);
  log::info("{}: {}", session.model().path(), session.describe_attention());
  const std::string prompt = read_prompt(options);
  const Tokenizer& tokenizer = session.tokenizer();
  GenerateOptions generation{
      .sampler = options.sampler, .max_tokens = options.tokens, .samples = options.n, .stop = {}};
  for (const std::string& stop : options.stop) generation.stop.push_back(unescape(stop));
  const std::vector<int32_t> ids = options.chat ? chat_prompt(options, session, prompt, generation)
                                                : text_prompt(options, tokenizer, prompt);

  if (options.n == 1 && options.echo) fmt::print("{}", prompt);
  const GenerateResult result =
      generate(session.engine(), tokenizer, ids, generation, [&](int, std::string_view text) {
        if (options.n > 1) return;
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      });
  print_samples(result, options, tokenizer, prompt);
  const GenerateTiming& t = result.timing;
  log::info("prompt {} tokens at {:.0f} tok/s; {} tokens at {:.1f} tok/s; kept mass {:.4f}; {}",
            t.prompt_tokens, rate(t.prompt_tokens, t.prefill_seconds), t.decoded_tokens,
            rate(t.decoded_tokens, t.decode_seconds), session.kept_mass(),
            to_string(result.samples[0].finish));
  if (!options.json.empty()) {
    // A prompt may hold any bytes; JSON may not.
    const std::string text =
        to_json(result, options, session, prompt)
            .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    write_file_atomically(options.json, text + "\n");
  }
  return 0;
}

}  // namespace pivot
