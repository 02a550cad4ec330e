#include "src/decode/loaded_model.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "checkpoints/model_source.h"
#include "kernels/rope/rope.h"
#include "src/base/check.h"
#include "src/core/context.h"

namespace pivot {
namespace {

// Values read, rounded and uploaded at once: 64 MiB of F32, far above what a copy costs to start.
constexpr int64_t kPiece = int64_t{1} << 24;
constexpr int64_t kRoundGrain = int64_t{1} << 16;

// Fills `flat` (P), F32 or BF16 on the context's device, piece by piece: no second copy of a model.
void upload_weights(const ModelSource& source, const Tensor& flat, Context& ctx) {
  std::vector<float> values;
  std::vector<BFloat16> rounded;
  const std::vector<ParamInfo> params = list_params(source.info().model);
  for_each_piece(params, kPiece, [&](const ParamInfo& p, int64_t begin, int64_t end) {
    const int64_t width = p.shape.count() / p.shape[0];
    const int64_t count = (end - begin) * width;
    const int64_t at = p.offset + begin * width;
    values.resize(static_cast<size_t>(count));
    read_rows(source, p, begin, end, values.data(), &ctx.pool);
    const void* bytes = values.data();
    if (flat.dtype == DType::BF16) {
      rounded.resize(values.size());
      ctx.pool.for_ranges(count, kRoundGrain, [&](int64_t first, int64_t last) {
        std::transform(values.begin() + first, values.begin() + last, rounded.begin() + first,
                       to_bfloat16);
      });
      bytes = rounded.data();
    }
    copy_from_host(flat.rows(at, at + count), bytes, ctx);
  });
}

}  // namespace

std::string Placement::describe() const {
  return fmt::format("{} in {}", to_string(device), dtype == DType::BF16 ? "bf16" : "f32");
}

Placement parse_placement(std::string_view device, std::string_view dtype) {
  const Device parsed = parse_device(device);
  if (dtype == "auto") return {parsed, parsed.is_cuda() ? DType::BF16 : DType::F32};
  if (dtype == "f32") return {parsed, DType::F32};
  if (dtype != "bf16") throw_user("dtype '{}' is not known: auto, f32 or bf16", dtype);
  if (!parsed.is_cuda())
    throw_user("dtype bf16 needs a CUDA device; {} computes in f32", to_string(parsed));
  return {parsed, DType::BF16};
}

LoadedModel::LoadedModel(const std::string& path, const std::string& attention_spec,
                         const Placement& placement, ThreadPool& pool)
    : path_(find_model(path)), placement_(placement) {
  const std::unique_ptr<ModelSource> source = open_model(path_);
  info_ = source->info();
  validate(info_.model);
  validate_dtype(info_.model, placement.dtype);
  const Device device = placement.device;
  Arena none(device, 0);
  Context ctx{device, pool, none, nullptr};

  const int64_t count = parameter_count(info_.model);
  weights_ = DeviceBuffer(device, static_cast<size_t>(count) * dtype_bytes(placement.dtype));
  const Tensor flat{weights_.data(), placement.dtype, {count}};
  if (device.kind == Device::Kind::Cpu) {
    read_weights(*source, flat, &pool);
  } else {
    upload_weights(*source, flat, ctx);
  }

  const std::vector<float> turns =
      rope_frequencies(info_.model.head_dim, info_.model.rope_theta, info_.model.rope_scaling);
  frequencies_ = DeviceBuffer(device, turns.size() * sizeof(float));
  const Tensor frequencies =
      view(static_cast<float*>(frequencies_.data()), {static_cast<int64_t>(turns.size())});
  copy_from_host(frequencies, turns.data(), ctx);

  model_ = {.config = info_.model,
            .params = bind_params(info_.model, flat),
            .rope_frequencies = frequencies,
            .attention = {}};
  set_attention(attention_spec);
}

void LoadedModel::set_attention(const std::string& spec) {
  model_.attention =
      parse_layer_policies(spec.empty() ? info_.attention : spec, info_.model.layers);
}

}  // namespace pivot
