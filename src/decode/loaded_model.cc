#include "src/decode/loaded_model.h"

#include <algorithm>
#include <vector>

#include "kernels/rope/rope.h"
#include "src/base/check.h"
#include "src/core/context.h"

namespace pivot {
namespace {

// Weights rounded and uploaded at once: 64 MiB of F32, far above what a copy costs to start.
constexpr int64_t kChunk = int64_t{1} << 24;
constexpr int64_t kRoundGrain = int64_t{1} << 16;

// values (count) F32 on the host to `dst`, F32 or BF16 on the context's device.
void upload_weights(const Tensor& dst, const float* values, Context& ctx) {
  if (dst.dtype == DType::F32) {
    copy_from_host(dst, values, ctx);
    return;
  }
  std::vector<BFloat16> rounded(static_cast<size_t>(std::min(kChunk, dst.count())));
  for (int64_t at = 0; at < dst.count(); at += kChunk) {
    const int64_t count = std::min(kChunk, dst.count() - at);
    ctx.pool.for_ranges(count, kRoundGrain, [&](int64_t begin, int64_t end) {
      std::transform(values + at + begin, values + at + end, rounded.begin() + begin, to_bfloat16);
    });
    copy_from_host(dst.rows(at, at + count), rounded.data(), ctx);
  }
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
    : path_(find_checkpoint(path)), placement_(placement), info_(read_checkpoint_info(path_)) {
  validate(info_.model);
  validate_dtype(info_.model, placement.dtype);
  const Device device = placement.device;
  Arena none(device, 0);
  Context ctx{device, pool, none, nullptr};

  const int64_t count = parameter_count(info_.model);
  weights_ = DeviceBuffer(device, static_cast<size_t>(count) * dtype_bytes(placement.dtype));
  const Tensor flat{weights_.data(), placement.dtype, {count}};
  if (device.kind == Device::Kind::Cpu) {
    read_checkpoint_tensors(path_, info_.model, flat, {}, {});
  } else {
    const DeviceBuffer host(Device{}, static_cast<size_t>(count) * sizeof(float));
    const Tensor values = view(static_cast<float*>(host.data()), {count});
    read_checkpoint_tensors(path_, info_.model, values, {}, {});
    upload_weights(flat, values.as<float>(), ctx);
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
