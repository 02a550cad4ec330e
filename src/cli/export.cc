// pivot export: a Pivot model for other programs.
#include "checkpoints/hf/export.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "checkpoints/gguf/gguf_writer.h"
#include "checkpoints/hf/peft.h"
#include "checkpoints/model_source.h"
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
    "hf writes a directory that transformers and everything built on it load: safetensors, "
    "config.json,\ngeneration_config.json, tokenizer and chat template. The attention that the "
    "model "
    "was trained with is\nin config.json under the key \"pivot\", which others ignore and Pivot "
    "reads back.\n\n"
    "Examples:\n"
    "  pivot export --to hf runs/sft exported/model\n"
    "  pivot export --to hf runs/sft exported/model --dtype bf16 --shard-size 2G\n"
    "  pivot export --to gguf runs/sft exported/model.gguf --dtype q8_0\n"
    "  pivot export --to peft runs/lora exported/adapter   (trained with lora.rank)\n";

struct ExportOptions {
  std::string to;
  std::string dtype = "auto";
  std::string shard_size = "5G";
  bool overwrite = false;
  bool without_tokenizer = false;
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("to", to, "hf (a directory), gguf (a file) or peft (a directory: the adapters alone)");
    v("dtype", dtype,
      "type of the weights: f32, bf16 or f16, of gguf also q8_0; auto is bf16 where nothing is "
      "lost "
      "by it, else f32");
    v("shard_size", shard_size, "hf: most bytes of a file (500M, 5G)");
    v("overwrite", overwrite, "replace an earlier export");
    v("without_tokenizer", without_tokenizer, "hf: weights and configuration only");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

int64_t parse_bytes(std::string text) {
  if (text.size() > 1 && (text.back() == 'B' || text.back() == 'b')) text.pop_back();
  const int64_t bytes = parse_count(text);
  if (bytes <= 0) throw_user("--shard-size must be above 0");
  return bytes;
}

// An export replaces its target as a whole, which must not hold what is being read.
void check_apart(const std::string& model, const std::string& target) {
  if (!fs::exists(target)) return;
  const auto inside = fs::canonical(model), outside = fs::canonical(target);
  const auto end =
      std::mismatch(outside.begin(), outside.end(), inside.begin(), inside.end()).first;
  if (end == outside.end())
    throw_user("{} holds the model itself: export to another place", target);
}

SpecialIds special_ids(const CheckpointInfo& info) {
  if (info.tokenizer_kind.empty()) return {};
  try {
    const auto tokenizer = tokenizer_of(info);
    return {tokenizer->bos(), tokenizer->eos()};
  } catch (const UserError& e) {
    log::warning("config.json is written without ids of special tokens: {}", e.what());
    return {};
  }
}

void export_hf(const ModelSource& source, const std::string& target, const ExportOptions& options) {
  ThreadPool pool(options.threads);
  eval::Progress progress("exporting", parameter_count(source.info().model), "parameters");
  const std::string type =
      write_hf(source, {.directory = target,
                        .type = parse_weight_type(options.dtype),
                        .shard_bytes = parse_bytes(options.shard_size),
                        .overwrite = options.overwrite,
                        .tokenizer = !options.without_tokenizer,
                        .special = special_ids(source.info()),
                        .pool = &pool,
                        .progress = [&](int64_t values) { progress.add(values); }});
  int64_t bytes = 0, files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(target)) {
    if (entry.path().extension() != ".safetensors") continue;
    bytes += static_cast<int64_t>(entry.file_size());
    ++files;
  }
  fmt::print("{}: {}, {} in {} file{}, {}\n", target, type,
             format_bytes(static_cast<double>(bytes)), files, files == 1 ? "" : "s",
             format_duration(progress.seconds()));
}

void export_gguf(const ModelSource& source, const std::string& target,
                 const ExportOptions& options) {
  if (fs::exists(target) && !options.overwrite) {
    throw_user("{} is there already: choose another name, or add --overwrite", target);
  }
  const std::vector<ParamInfo> params = list_params(source.info().model);
  const bool exact = std::all_of(params.begin(), params.end(), [&](const ParamInfo& p) {
    return source.stored_type(p) == DType::BF16;
  });
  const std::string dtype = options.dtype != "auto" ? options.dtype : exact ? "bf16" : "f32";
  write_gguf(source, target, parse_gguf_format(dtype));
  fmt::print("{}: {}, {}\n", target, dtype,
             format_bytes(static_cast<double>(fs::file_size(target))));
}

}  // namespace

int run_export(const std::vector<std::string>& args) {
  ExportOptions options;
  std::string model, target;
  CommandLine line("export", "Write a model for Hugging Face's libraries or for llama.cpp");
  line.options(options);
  line.positional("MODEL", model, "checkpoint, run, Hugging Face directory or .gguf file",
                  CommandLine::Required);
  line.positional("OUT", target, "directory (hf, peft) or file (gguf) to write",
                  CommandLine::Required);
  line.footer(kFooter);
  if (!line.parse(args)) return 0;
  if (options.to != "hf" && options.to != "gguf" && options.to != "peft") {
    throw_user("say what to write with --to hf, --to gguf or --to peft");
  }
  const std::string path = find_model(model);
  if (options.to == "peft") {
    export_peft(find_checkpoint(path), target);
    fmt::print("{}: adapters of {} for PEFT\n", target, path);
    return 0;
  }
  check_apart(path, target);
  const std::unique_ptr<ModelSource> source = open_model(path);
  fmt::print("{}: {}\n{}", path, source->describe(), describe_model(source->info()));
  options.to == "hf" ? export_hf(*source, target, options) : export_gguf(*source, target, options);
  return 0;
}

}  // namespace pivot
