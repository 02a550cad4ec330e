#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "build_info.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/options.h"
#include "src/cli/commands.h"

namespace pivot {
namespace {

constexpr int kExitEnvironment = 1;
constexpr int kExitUser = 2;
constexpr int kExitBug = 70;

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr Command kCommands[] = {
    {"train", "train a model from scratch", &run_train},
    {"sft", "fine-tune a model on conversations", &run_sft},
    {"plan", "memory, FLOPs and time of a training run before it starts", &run_plan},
    {"eval", "perplexity and task accuracy under any list of attention specs", &run_eval},
    {"convert", "make a checkpoint of a Hugging Face model or a GGUF file", &run_convert},
    {"export", "write a model for Hugging Face's libraries or for llama.cpp", &run_export},
    {"sample", "continue a prompt", &run_sample},
    {"chat", "talk to a model", &run_chat},
    {"logits", "write the logits of a text to a file", &run_logits},
    {"gradients", "write loss and gradients of a batch to a file", &run_gradients},
    {"data", "build, show, count, verify and generate token shards", &run_data},
    {"tokenizer", "train a tokenizer, encode, decode", &run_tokenizer},
    {"info", "what a model, checkpoint, run, shard or safetensors file is", &run_info},
    {"study", "experiments on trained models", &run_study},
    {"report", "one HTML page about a run", &run_report},
    {"doctor", "check this machine and this build", &run_doctor},
    {"bench", "time the kernels and the training step", &run_bench},
};

void print_usage() {
  fmt::print("pivot {}: transformers with exact Top-k attention\n\nusage: pivot COMMAND ...\n\n",
             kVersion);
  for (const Command& c : kCommands) fmt::print("  {:<10} {}\n", c.name, c.summary);
  fmt::print("\n'pivot COMMAND --help' explains a command; 'pivot --version' this build.\n");
}

int dispatch(const std::string& name, const std::vector<std::string>& args) {
  std::vector<std::string> names;
  for (const Command& c : kCommands) {
    if (name == c.name) return c.run(args);
    names.emplace_back(c.name);
  }
  throw_user("unknown command '{}'; did you mean '{}'? ('pivot --help' lists all)", name,
             nearest_name(name, names));
}

int run(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0 ||
      std::strcmp(argv[1], "help") == 0) {
    print_usage();
    return argc < 2 ? kExitUser : 0;
  }
  if (std::strcmp(argv[1], "--version") == 0) {
    fmt::print("pivot {} ({}, {}, {}, CPU)\n", kVersion, kGitHash, kCompiler, kBuildType);
    return 0;
  }
  return dispatch(argv[1], {argv + 2, argv + argc});
}

}  // namespace
}  // namespace pivot

// The only place that catches: every error becomes one message and an exit code.
int main(int argc, char** argv) {
  try {
    return pivot::run(argc, argv);
  } catch (const pivot::UserError& e) {
    pivot::log::error("{}", e.what());
    return pivot::kExitUser;
  } catch (const pivot::BugError& e) {
    pivot::log::error("{}\nThis is a bug in Pivot, please report it.", e.what());
    return pivot::kExitBug;
  } catch (const std::bad_alloc&) {
    pivot::log::error("out of memory; `pivot plan` shows what would fit");
    return pivot::kExitEnvironment;
  } catch (const std::exception& e) {
    pivot::log::error("{}", e.what());
    return pivot::kExitEnvironment;
  }
}
