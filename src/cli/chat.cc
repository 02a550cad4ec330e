// pivot chat: a conversation with a model, or a text written in turns with it.
#include <unistd.h>

#include "data/utf8.h"
#include "src/base/check.h"
#include "src/base/interrupt.h"
#include "src/cli/chat_modes.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"

namespace pivot {

void set_sampler(SamplerOptions& sampler, const std::string& assignment) {
  SamplerOptions changed = sampler;
  std::vector<OptionField> fields = option_fields(changed);
  if (assignment.empty()) {
    for (const OptionField& field : fields) {
      fmt::print(stderr, "{} = {}\n", field.key, field.print());
    }
    return;
  }
  set_override(fields, assignment);
  validate(changed);
  sampler = changed;
}

std::pair<std::string, std::string> split_command(const std::string& line) {
  const size_t space = std::min(line.find(' '), line.size());
  const size_t rest = std::min(line.find_first_not_of(' ', space), line.size());
  return {line.substr(0, space), line.substr(rest)};
}

std::string without_controls(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<uint8_t>(text[at]);
    // U+0080 to U+009F are C2 80 to C2 9F.
    const bool wide = byte == 0xC2 && at + 1 < text.size() && (text[at + 1] & 0xE0) == 0x80;
    const bool control = (byte < 0x20 && byte != '\t' && byte != '\n') || byte == 0x7F || wide;
    if (control) {
      out += kReplacementCharacter;
    } else {
      out += text[at];
    }
    at += wide ? 1 : 0;
  }
  return out;
}

void write_text(std::FILE* out, std::string_view text) {
  std::string safe;
  if (::isatty(::fileno(out)) != 0) text = safe = without_controls(text);
  std::fwrite(text.data(), 1, text.size(), out);
  if (std::fflush(out) != 0) throw_error("the answer cannot be written (disk full, closed pipe?)");
}

int run_chat(const std::vector<std::string>& args) {
  TalkOptions options;
  std::string model;
  CommandLine line("chat", "Talk with a model by its chat template");
  line.positional("MODEL", model, "the model, as --model", CommandLine::Optional);
  line.options(options);
  line.footer(
      "Answers go to standard output, everything else to standard error. Inside, /help lists the\n"
      "commands. From a pipe every line is a message (\"\"\" begins and ends one of several "
      "lines):\n"
      "  pivot chat runs/sft\n"
      "  pivot chat runs/sft --system 'Answer in one sentence.' --attn topk:2%\n"
      "  pivot chat runs/sft --prompt 'What is a B-tree?' --temperature 0\n"
      "  pivot chat runs/base --plain");
  if (!line.parse(args)) return 0;
  if (!model.empty() && !options.session.model.empty()) {
    throw_user("the model is named twice: {} and --model {}", model, options.session.model);
  }
  if (!model.empty()) options.session.model = model;
  if (options.tokens < 1) throw_user("--tokens {}: must be at least 1", options.tokens);
  validate(options.sampler);
  catch_interrupts();
  const ChatStreams streams{STDIN_FILENO, stdout};
  if (!options.plain) {
    run_dialogue(options, streams);
    return 0;
  }
  if (!options.chat_template.empty() || !options.system.empty() || options.drop_oldest) {
    throw_user("--plain has no messages: --template, --system and --drop-oldest do not go with it");
  }
  run_plain(options, streams);
  return 0;
}

}  // namespace pivot
