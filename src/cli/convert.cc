// pivot convert: a model of another program as a Pivot checkpoint.
#include <filesystem>
#include <memory>

#include "build_info.h"
#include "checkpoints/gguf/gguf_source.h"
#include "checkpoints/hf/source.h"
#include "checkpoints/model_source.h"
#include "data/tokenizer.h"
#include "src/base/check.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/cli/describe_model.h"
#include "src/decode/session.h"
#include "src/eval/progress.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;

constexpr char kFooter[] =
    "Writes OUT/step_00000000, which train (init=OUT), sft, eval, sample and chat take. Weights "
    "that\n"
    "are BF16 stay BF16, all others become F32: nothing is lost. Commands read Hugging Face\n"
    "directories and .gguf files directly, too; a checkpoint loads faster and holds its "
    "checksums.\n\n"
    "Examples:\n"
    "  pivot convert --from hf models/SmolLM2-135M-Instruct runs/smollm2\n"
    "  pivot convert model.Q4_K_M.gguf runs/model --dtype bf16\n";

struct ConvertOptions {
  std::string from = "auto";
  std::string dtype = "auto";
  std::string tokenizer;
  bool overwrite = false;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("from", from, "hf, gguf or auto: what SRC is");
    v("dtype", dtype, "how weights are stored: auto (as in SRC: bf16 or f32), f32 or bf16");
    v("tokenizer", tokenizer, "tokenizer file or directory, for a model without one of its own");
    v("overwrite", overwrite, "replace a checkpoint of the same step in OUT");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

std::unique_ptr<ModelSource> open_as(const std::string& from, const std::string& path) {
  if (from == "hf") {
    if (!is_hf_directory(path)) {
      throw_user("{} is no Hugging Face directory: it has no config.json", path);
    }
    return open_hf(path);
  }
  if (from == "gguf") return open_gguf(path);
  if (from == "auto") return open_model(path);
  throw_user("--from {}: must be hf, gguf or auto", from);
}

void set_tokenizer(const std::string& spec, CheckpointInfo& info) {
  if (!spec.empty()) {
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(spec);
    info.tokenizer_kind = tokenizer->kind();
    info.tokenizer_bytes = tokenizer->model_bytes();
    info.tokenizer_hash = tokenizer->hash();
    info.companions.erase(kTokenizerConfigFile);
    if (!tokenizer->config().empty()) info.companions[kTokenizerConfigFile] = tokenizer->config();
  }
  if (info.tokenizer_kind.empty()) {
    throw_user("the model has no tokenizer: name one with --tokenizer PATH");
  }
}

// A tokenizer that Pivot does not understand leaves a model that computes on ids alone.
void check_tokenizer(const CheckpointInfo& info) {
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    tokenizer = tokenizer_of(info);
  } catch (const UserError& e) {
    log::warning("the model is converted, but not for text: {}", e.what());
    return;
  }
  if (tokenizer->vocab() > info.model.vocab) {
    throw_user("the tokenizer has {} tokens, the model {}: they do not belong together",
               tokenizer->vocab(), info.model.vocab);
  }
}

void check_target(const std::string& out, int64_t step, bool overwrite) {
  if (overwrite || !fs::is_directory(out)) return;
  const std::vector<std::string> there = list_checkpoints(out);
  if (there.empty()) return;
  throw_user("{} holds checkpoints already ({}): choose another directory{}", out, there.back(),
             there.size() == 1 ? fmt::format(", or add --overwrite to replace step {}", step) : "");
}

}  // namespace

int run_convert(const std::vector<std::string>& args) {
  ConvertOptions options;
  std::string path, out;
  CommandLine line("convert", "Make a Pivot checkpoint of a Hugging Face directory or a GGUF file");
  line.options(options);
  line.positional("SRC", path, "Hugging Face directory or .gguf file", CommandLine::Required);
  line.positional("OUT", out, "directory for the checkpoint", CommandLine::Required);
  line.footer(kFooter);
  if (!line.parse(args)) return 0;

  const WeightType type = parse_weight_type(options.dtype);
  const std::unique_ptr<ModelSource> source = open_as(options.from, path);
  CheckpointInfo info = source->info();
  if (info.pivot_version.empty()) info.pivot_version = kVersion;
  set_tokenizer(options.tokenizer, info);
  check_tokenizer(info);
  check_target(out, info.state.step, options.overwrite);
  fmt::print("{}: {}\n{}", path, source->describe(), describe_model(info));

  ThreadPool pool(options.threads);
  eval::Progress progress("converting", parameter_count(info.model), "parameters");
  const std::string checkpoint = save_checkpoint(
      out, info, *source,
      {.type = type, .pool = &pool, .progress = [&](int64_t values) { progress.add(values); }});
  fmt::print("{}: {} in {}\n", checkpoint,
             format_bytes(static_cast<double>(fs::file_size(checkpoint + "/model.h5"))),
             format_duration(progress.seconds()));
  return 0;
}

}  // namespace pivot
