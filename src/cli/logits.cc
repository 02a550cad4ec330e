// pivot logits: the logits of every token of a text, for anyone who wants to compare numbers.
#include <algorithm>
#include <charconv>

#include "build_info.h"
#include "checkpoints/model_source.h"
#include "checkpoints/safetensors.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/engine.h"
#include "src/decode/session.h"

namespace pivot {
namespace {

struct LogitsOptions {
  std::string model;
  std::string text;
  std::string ids;
  std::string attn;
  std::string out = "logits.safetensors";
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("model", model, kModelDoc);
    v("text", text, "text to run through the model");
    v("ids", ids, "file with token ids, separated by white space or commas (a JSON list is fine)");
    v("attn", attn, "attention spec; empty takes what the model was trained with");
    v("out", out, "safetensors file: logits (T, V) F32 and ids (T) I32");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype, "weights and activations: f32, bf16 (CUDA only) or auto");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

std::vector<int32_t> parse_ids(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<int32_t> ids;
  const auto is_separator = [](char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == ',' || c == '[' || c == ']';
  };
  for (const char* at = text.data(); at != text.data() + text.size();) {
    if (is_separator(*at)) {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, text.data() + text.size(), id);
    if (error != std::errc() || (next != text.data() + text.size() && !is_separator(*next))) {
      throw_user("{}: byte {} begins no token id", path, at - text.data());
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

}  // namespace

int run_logits(const std::vector<std::string>& args) {
  LogitsOptions options;
  CommandLine line("logits", "Write the logits of a text to a safetensors file");
  line.options(options);
  line.footer(
      "Row t holds the logits after tokens 0..t, computed by the forward pass of training.");
  if (!line.parse(args)) return 0;
  if (options.text.empty() == options.ids.empty()) throw_user("give either --text or --ids FILE");
  if (options.model.empty()) throw_user("no model: name one with --model PATH");

  ThreadPool pool(options.threads);
  const LoadedModel model(options.model, options.attn,
                          parse_placement(options.device, options.dtype), pool);
  std::vector<int32_t> ids = options.ids.empty() ? tokenizer_of(model.info())->encode(options.text)
                                                 : parse_ids(options.ids);
  const auto count = std::max<int64_t>(1, static_cast<int64_t>(ids.size()));
  Engine engine(model.model(),
                {.attention = model.model().attention,
                 .prefill = model.model().attention,
                 .max_context = count},
                model.placement().device, pool);
  const int64_t vocab = engine.vocab();
  const Shape shape{count, vocab};
  require_free_disk(options.out, shape.count() * 4, "the logits");
  // The one large buffer; score() itself holds a few rows.
  const DeviceBuffer buffer(Device{}, static_cast<size_t>(shape.count()) * sizeof(float));
  const Tensor logits = view(static_cast<float*>(buffer.data()), shape);
  engine.score(ids, [&](int64_t row, const float* values) {
    std::copy(values, values + vocab, logits.as<float>() + row * vocab);
  });
  write_safetensors(options.out, {{"logits", logits}, {"ids", view(ids.data(), {count})}},
                    {{"model", model.path()},
                     {"attention", to_string(model.model().attention)},
                     {"pivot_version", std::string(kVersion)}});
  log::info("{}: {}; trained with {}, computed with {}", model.path(), model.placement().describe(),
            model.info().attention, to_string(model.model().attention));
  fmt::print("{}: logits ({}, {}) F32, {}\n", options.out, count, vocab,
             format_bytes(static_cast<double>(logits.bytes())));
  return 0;
}

}  // namespace pivot
