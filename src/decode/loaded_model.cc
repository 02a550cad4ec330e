#include "src/decode/loaded_model.h"

#include <utility>

#include "kernels/rope/rope.h"
#include "src/base/check.h"

namespace pivot {

LoadedModel::LoadedModel(const std::string& path, const std::string& attention_spec, Device device,
                         ThreadPool&)
    : path_(find_checkpoint(path)), info_(read_checkpoint_info(path_)) {
  if (device.kind != Device::Kind::Cpu) {
    throw_user("models run on the cpu in this build, not on {}", to_string(device));
  }
  validate(info_.model);
  const int64_t count = parameter_count(info_.model);
  weights_ = DeviceBuffer(device, static_cast<size_t>(count) * sizeof(float));
  const Tensor flat = view(static_cast<float*>(weights_.data()), {count});
  read_checkpoint_tensors(path_, info_.model, flat, {}, {});

  const std::vector<float> turns =
      rope_frequencies(info_.model.head_dim, info_.model.rope_theta, info_.model.rope_scaling);
  frequencies_ = DeviceBuffer(device, turns.size() * sizeof(float));
  const Tensor frequencies =
      view(static_cast<float*>(frequencies_.data()), {static_cast<int64_t>(turns.size())});
  std::copy(turns.begin(), turns.end(), frequencies.as<float>());

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
