#include "src/cli/chat_data.h"

#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "checkpoints/checkpoint.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/units.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kShownBytes = 6000;  // of a probe conversation on the terminal: some screens

bool has_checkpoints(const std::string& output) {
  const std::string dir = output + "/checkpoints";
  return fs::is_directory(dir) && !list_checkpoints(dir).empty();
}

void use_data(TrainOptions& o, const std::string& directory) {
  o.data.train = {directory + "/train"};
  o.data.validation.clear();
  if (fs::is_directory(directory + "/validation")) {
    o.data.validation = {directory + "/validation"};
  }
  o.data.tokenizer.clear();
}

/// As much of the beginning as a terminal should be filled with.
std::vector<ChatRun> beginning_of(const std::vector<ChatRun>& runs) {
  std::vector<ChatRun> out;
  size_t bytes = 0;
  for (const ChatRun& run : runs) {
    if (bytes + run.text.size() > kShownBytes) break;
    bytes += run.text.size();
    out.push_back(run);
  }
  return out;
}

}  // namespace

void prepare_chat_data(TrainOptions& o, ChatTarget target, ThreadPool& pool) {
  const std::string directory = o.output + "/data";
  target.out = directory;
  target.overwrite = true;
  // A default share of a handful of conversations may be none of them.
  if (o.given.count("chat.validation") == 0) {
    target.few_held_out = ChatTarget::FewHeldOut::Warn;
  }
  const std::string wanted = chat_fingerprint(o.chat, target),
                    there = read_chat_fingerprint(directory);
  if (wanted == there) {
    log::info("data: {} holds these conversations already", directory);
    use_data(o, directory);
    return;
  }
  if (o.resume == "auto" && has_checkpoints(o.output)) {
    throw_user(
        "{} was trained on other conversations, or with another template, context or tokenizer, "
        "than "
        "chat.* name now: restore them to go on, resume=never to start over, or take another "
        "output",
        o.output);
  }
  const ChatBuildResult result = build_chat(o.chat, target, pool);
  std::fputs(to_text(result).c_str(), stderr);
  log::info("data: {} written in {}", directory, format_duration(result.seconds));
  use_data(o, directory);
}

void show_probe(const ChatProbe& probe, const std::string& output) {
  log::info("probe: {}, {} tokens, {} learnt, the last of them {}", probe.place, probe.tokens,
            probe.learnt, probe.ends_with);
  for (const std::string& warning : probe.warnings) log::warning("{}", warning);
  const std::vector<ChatRun> shown = beginning_of(probe.runs);
  std::fputs(show_chat(shown, log::use_color() ? Style::Color : Style::Plain).c_str(), stderr);
  std::fputs(shown.size() < probe.runs.size() ? "\n... (probe.txt has all of it)\n" : "\n", stderr);
  std::error_code error;
  fs::create_directories(output, error);
  if (error) throw_error("output {}: cannot be created: {}", output, error.message());
  write_file_atomically(output + "/probe.txt", show_chat(probe.runs, Style::Plain) + "\n");
  const nlohmann::ordered_json json = {
      {"place", probe.place},
      {"tokens", probe.tokens},
      {"learnt_tokens", probe.learnt},
      {"ends_with", probe.ends_with},
      {"warnings", probe.warnings},
      {"runs", nlohmann::ordered_json::parse(to_json(probe.runs))}};
  write_file_atomically(output + "/probe.json", json.dump(1) + "\n");
}

}  // namespace pivot
