#include "train/trainee.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

// Host memory of one piece of a source's weights, and what the fingerprint is made of: never
// change.
constexpr int64_t kPieceElements = int64_t{1} << 24;
constexpr int64_t kGrain = int64_t{1} << 16;  // elements a thread converts at a time

std::vector<ParamInfo> trained_params(const TrainOptions& o) {
  return o.lora.on() ? list_adapters(o.model, o.lora) : list_params(o.model);
}

Tensor flat_tensor(DeviceBuffer& memory, DType dtype, int64_t count, Device device) {
  Tensor flat{nullptr, dtype, {count}};
  memory = DeviceBuffer(device, flat.bytes());
  flat.data = memory.data();
  return flat;
}

// F32 in host memory to a tensor of the device, rounded where it is BF16.
void store(const Tensor& to, const float* values, std::vector<BFloat16>& rounded, Context& ctx) {
  if (to.dtype == DType::F32) {
    copy_from_host(to, values, ctx);
    return;
  }
  const int64_t count = to.count();
  rounded.resize(static_cast<size_t>(count));
  ctx.pool.for_ranges(count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      rounded[static_cast<size_t>(i)] = to_bfloat16(values[i]);
    }
  });
  copy_from_host(to, rounded.data(), ctx);
}

}  // namespace

Trainee::Trainee(const TrainOptions& o, const Compute& compute, Context& ctx)
    : trained_(trained_params(o)), optimizer_(trained_, o.optim, compute.dtype, ctx) {
  if (o.lora.on()) {
    base_ = flat_tensor(base_memory_, compute.dtype, parameter_count(o.model), ctx.device);
    model_.lora = {o.lora, bind_adapters(o.model, o.lora, optimizer_.compute_weights()),
                   bind_adapters(o.model, o.lora, optimizer_.weights())};
  }
  model_.config = o.model;
  model_.params = bind_params(o.model, base_.present() ? base_ : optimizer_.compute_weights());
  model_.gradient_order = compute.order;
  const std::vector<float> turns =
      rope_frequencies(o.model.head_dim, o.model.rope_theta, o.model.rope_scaling);
  const auto count = static_cast<int64_t>(turns.size());
  model_.rope_frequencies = flat_tensor(frequencies_, DType::F32, count, ctx.device);
  copy_from_host(model_.rope_frequencies, turns.data(), ctx);
}

void Trainee::initialise(uint64_t seed, Context& ctx) {
  init_params(trained_, model_.config, optimizer_.weights(), seed, ctx);
}

void Trainee::initialise_base(uint64_t seed, Context& ctx) {
  if (!base_.present() || ctx.device.is_plan()) return;
  DeviceBuffer memory;
  const Tensor host = flat_tensor(memory, DType::F32, base_.count(), Device{});
  Context on_host{Device{}, ctx.pool, ctx.scratch};
  init_params(model_.config, host, seed, on_host);
  std::vector<BFloat16> rounded;
  store(base_, host.as<float>(), rounded, ctx);
}

std::string Trainee::read_weights(const ModelSource& source, Context& ctx) {
  const Tensor& flat = base_.present() ? base_ : optimizer_.weights();
  const bool in_place = flat.dtype == DType::F32 && !ctx.device.is_cuda();
  std::vector<float> piece;
  std::vector<BFloat16> rounded;
  std::string hashes;
  for (const ParamInfo& p : list_params(model_.config)) {
    const int64_t rows = p.shape[0];
    const int64_t row = p.shape.count() / rows;
    const int64_t step = std::clamp<int64_t>(kPieceElements / row, 1, rows);
    for (int64_t first = 0; first < rows; first += step) {
      const int64_t count = std::min(step, rows - first) * row;
      const int64_t offset = p.offset + first * row;
      const Tensor to = flat.rows(offset, offset + count);
      if (!in_place) piece.resize(static_cast<size_t>(count));
      float* values = in_place ? to.as<float>() : piece.data();
      ctx.pool.for_ranges(count / row, std::max<int64_t>(1, kGrain / row),
                          [&](int64_t begin, int64_t end) {
                            source.read(p, first + begin, first + end, values + begin * row);
                          });
      hashes += hash_hex(
          {reinterpret_cast<const char*>(values), static_cast<size_t>(count) * sizeof(float)});
      if (!in_place) store(to, values, rounded, ctx);
    }
  }
  return hash_hex(hashes);
}

MergedModel::MergedModel(const Model& model, Context& ctx) : model_(model) {
  model_.lora = {};
  model_.params = bind_params(model.config, flat_tensor(memory_, model.compute_dtype(),
                                                        parameter_count(model.config), ctx.device));
  merge_adapters(model, model_.params, ctx);
}

MergedSource::MergedSource(const Model& model, CheckpointInfo info, Context& ctx)
    : model_(model),
      info_(std::move(info)),
      ctx_(ctx),
      scope_(ctx.scratch.scope()),
      weights_(model, ctx) {}

std::string MergedSource::describe() const {
  return fmt::format("a model with adapters of rank {} merged", model_.lora.config.rank);
}

Tensor MergedSource::tensor_of(const ParamInfo& param) const {
  Params params = model_.params;
  constexpr std::string_view kLayers = "layers.";
  if (param.name.starts_with(kLayers)) {
    const int layer = std::stoi(param.name.substr(kLayers.size()));
    params.layer[static_cast<size_t>(layer)] = weights_.of(layer, ctx_);
  }
  Tensor found;
  visit_params(params, model_.config,
               [&](const std::string& name, const Tensor& tensor, Shape, Init, Decay) {
                 if (name == param.name) found = tensor;
               });
  PIVOT_CHECK(found.present(), "{} is no parameter", param.name);
  return found;
}

void MergedSource::read(const ParamInfo& param, int64_t begin, int64_t end, float* out) const {
  const std::lock_guard lock(mutex_);
  const Tensor from = tensor_of(param).rows(begin, end);
  if (from.dtype == DType::F32) return copy_to_host(out, from, ctx_);
  std::vector<BFloat16> rounded(static_cast<size_t>(from.count()));
  copy_to_host(rounded.data(), from, ctx_);
  for (size_t i = 0; i < rounded.size(); ++i) out[i] = to_float(rounded[i]);
}

}  // namespace pivot
