// pivot gradients: loss and gradients of every parameter for one batch, for anyone who wants to
// compare numbers.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "build_info.h"
#include "checkpoints/safetensors.h"
#include "data/batch.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/units.h"
#include "src/cli/command_line.h"
#include "src/cli/commands.h"
#include "src/decode/loaded_model.h"

namespace pivot {
namespace {

struct GradientsOptions {
  std::string model;
  std::string batch;
  std::string attn;
  std::string out = "gradients.safetensors";
  std::string recompute = "selective";
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;

  template <class V>
  void visit(V&& v) {
    v("model", model, "model to differentiate (see --model of pivot logits)");
    v("batch", batch, "safetensors file: ids (N), targets (N), doc_offsets (n + 1), I32 or I64");
    v("attn", attn, "attention spec; empty takes what the model was trained with");
    v("out", out, "safetensors file: loss (N) and the gradient of every parameter by name, F32");
    v("recompute", recompute, "activations kept: none, selective or full; results are the same");
    v("device", device, "cpu, cuda, cuda:N or auto");
    v("dtype", dtype, "weights and activations: f32, bf16 (CUDA only) or auto");
    v("threads", threads, "CPU threads; 0 takes all");
  }
};

template <class T>
void append(std::span<const std::byte> bytes, std::vector<int64_t>& values) {
  for (size_t at = 0; at < bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    values.push_back(value);
  }
}

// A vector of integers in [least, most] out of the file.
std::vector<int32_t> read_integers(const SafetensorsFile& file, const std::string& path,
                                   const std::string& name, int64_t least, int64_t most) {
  const auto found = file.entries().find(name);
  if (found == file.entries().end()) throw_user("{}: tensor '{}' is missing", path, name);
  const SafetensorsFile::Entry& entry = found->second;
  if (entry.shape.size() != 1 || (entry.dtype != "I32" && entry.dtype != "I64")) {
    throw_user("{}: tensor '{}' must be a vector of I32 or I64; it is {} with {} dimensions", path,
               name, entry.dtype, entry.shape.size());
  }
  std::vector<int64_t> wide;
  wide.reserve(static_cast<size_t>(entry.shape[0]));
  if (entry.dtype == "I32") append<int32_t>(entry.bytes, wide);
  if (entry.dtype == "I64") append<int64_t>(entry.bytes, wide);
  std::vector<int32_t> values;
  values.reserve(wide.size());
  for (const int64_t value : wide) {
    if (value < least || value > most) {
      throw_user("{}: {}[{}] is {}, which is not in [{}, {}]", path, name, values.size(), value,
                 least, most);
    }
    values.push_back(static_cast<int32_t>(value));
  }
  return values;
}

void check_offsets(const std::vector<int32_t>& offsets, int64_t tokens, const std::string& path) {
  if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != tokens ||
      !std::is_sorted(offsets.begin(), offsets.end())) {
    throw_user("{}: doc_offsets must ascend from 0 to {}, the number of ids", path, tokens);
  }
}

Batch read_batch(const std::string& path, int64_t vocab) {
  const SafetensorsFile file(path);
  Batch batch;
  batch.rows = 1;
  batch.tokens = read_integers(file, path, "ids", 0, vocab - 1);
  batch.targets = read_integers(file, path, "targets", kNoTarget, vocab - 1);
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  if (tokens == 0) throw_user("{}: there are no ids", path);
  if (batch.targets.size() != batch.tokens.size()) {
    throw_user("{}: {} targets for {} ids", path, batch.targets.size(), batch.tokens.size());
  }
  batch.doc_offsets = {0, static_cast<int32_t>(tokens)};
  if (file.entries().contains("doc_offsets")) {
    batch.doc_offsets = read_integers(file, path, "doc_offsets", 0, tokens);
    check_offsets(batch.doc_offsets, tokens, path);
  }
  for (size_t d = 0; d + 1 < batch.doc_offsets.size(); ++d) {
    const int32_t length = batch.doc_offsets[d + 1] - batch.doc_offsets[d];
    for (int32_t i = 0; i < length; ++i) batch.positions.push_back(i);
    batch.max_document = std::max<int64_t>(batch.max_document, length);
  }
  if (batch.valid_targets() == 0) throw_user("{}: every target is {}", path, kNoTarget);
  return batch;
}

Tensor upload(const std::vector<int32_t>& values, Context& ctx) {
  const Tensor t = ctx.scratch.tensor(DType::I32, {static_cast<int64_t>(values.size())});
  copy_from_host(t, values.data(), ctx);
  return t;
}

struct Results {
  std::vector<float> loss;   // (N)
  std::vector<float> grads;  // (P)
};

// Gradients of the mean loss of the batch. On the plan device the results stay empty.
Results differentiate(const Model& model, const Batch& batch, Recompute recompute, Context& ctx) {
  const auto rows = static_cast<int64_t>(batch.tokens.size());
  const ModelInput input{.tokens = upload(batch.tokens, ctx),
                         .positions = upload(batch.positions, ctx),
                         .doc_offsets = upload(batch.doc_offsets, ctx),
                         .max_document = batch.max_document};
  const Tensor targets = upload(batch.targets, ctx);
  const Tensor loss = ctx.scratch.tensor(DType::F32, {rows});
  const Tensor flat = ctx.scratch.tensor(DType::F32, {parameter_count(model.config)});
  fill_zero(flat, ctx);
  Gradients grads{bind_params(model.config, flat), {}};
  forward_backward(model, input, targets, 1.0F / static_cast<float>(batch.valid_targets()),
                   recompute, grads, loss, nullptr, ctx);
  Results results;
  if (ctx.device.is_plan()) return results;
  results.loss.resize(static_cast<size_t>(rows));
  results.grads.resize(static_cast<size_t>(flat.count()));
  copy_to_host(results.loss.data(), loss, ctx);
  copy_to_host(results.grads.data(), flat, ctx);
  return results;
}

double mean_loss(const std::vector<float>& losses, const Batch& batch) {
  double sum = 0;
  for (const float loss : losses) sum += loss;
  return sum / static_cast<double>(batch.valid_targets());
}

std::vector<NamedTensor> named(const ModelConfig& config, Results& results) {
  std::vector<NamedTensor> tensors{
      {"loss", view(results.loss.data(), {static_cast<int64_t>(results.loss.size())})}};
  for (const ParamInfo& p : list_params(config)) {
    tensors.push_back({p.name, view(results.grads.data() + p.offset, p.shape)});
  }
  return tensors;
}

}  // namespace

int run_gradients(const std::vector<std::string>& args) {
  GradientsOptions options;
  CommandLine line("gradients", "Write loss and gradients of one batch to a safetensors file");
  line.options(options);
  line.footer(
      "ids[t] predicts targets[t]; a target of -1 is not learnt. Document d is ids[doc_offsets[d] "
      ".. "
      "doc_offsets[d + 1]); without doc_offsets all is one document. Gradients are those of the "
      "mean "
      "loss over the targets, as one step of training computes them; no weight is changed.");
  if (!line.parse(args)) return 0;
  if (options.model.empty()) throw_user("no model: name one with --model PATH");
  if (options.batch.empty()) throw_user("no batch: name a safetensors file with --batch FILE");
  const Recompute recompute = parse_recompute(options.recompute);

  ThreadPool pool(options.threads);
  const LoadedModel model(options.model, options.attn,
                          parse_placement(options.device, options.dtype), pool);
  const ModelConfig& config = model.model().config;
  const Batch batch = read_batch(options.batch, config.vocab);
  require_free_disk(options.out, parameter_count(config) * 4, "the gradients");

  const Device device = model.placement().device;
  Arena counting(plan_device(device), 0);
  CostLedger ledger;
  Context plan{counting.device(), pool, counting, &ledger};
  differentiate(model.model(), batch, recompute, plan);
  Arena arena(device, counting.peak());
  Context ctx{device, pool, arena, nullptr};
  Results results = differentiate(model.model(), batch, recompute, ctx);

  const double loss = mean_loss(results.loss, batch);
  write_safetensors(options.out, named(config, results),
                    {{"model", model.path()},
                     {"attention", to_string(model.model().attention)},
                     {"mean_loss", fmt::format("{:.17g}", loss)},
                     {"targets", std::to_string(batch.valid_targets())},
                     {"pivot_version", std::string(kVersion)}});
  log::info("{}: {}; computed with {}", model.path(), model.placement().describe(),
            to_string(model.model().attention));
  fmt::print("{}: {} gradients of {} targets in {} tokens, mean loss {:.6f} nats, {}\n",
             options.out, parameter_count(config), batch.valid_targets(), batch.tokens.size(), loss,
             format_bytes(static_cast<double>(results.grads.size() * sizeof(float))));
  return 0;
}

}  // namespace pivot
