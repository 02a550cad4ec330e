#include "checkpoints/hf/peft.h"

#include <cmath>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoints/adapters.h"
#include "checkpoints/safetensors.h"
#include "src/base/check.h"
#include "src/base/file.h"

namespace pivot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// "base_model.model.model.layers.3.self_attn.q_proj": PEFT wraps the causal model, which wraps the
// decoder.
std::string module_name(int layer, Projection p) {
  const bool attention = p < Projection::Gate;
  return fmt::format("base_model.model.model.layers.{}.{}.{}", layer,
                     attention ? "self_attn" : "mlp", to_string(p));
}

std::string print_config(const AdapterInfo& info) {
  Json targets = Json::array();
  for (const Projection p : lora_targets(info.lora)) targets.push_back(to_string(p));
  const double alpha = info.lora.effective_alpha();
  const Json number = alpha == std::floor(alpha) ? Json(static_cast<int64_t>(alpha)) : Json(alpha);
  const Json config = {
      {"peft_type", "LORA"}, {"task_type", "CAUSAL_LM"}, {"base_model_name_or_path", info.base},
      {"r", info.lora.rank}, {"lora_alpha", number},     {"target_modules", targets},
      {"lora_dropout", 0.0}, {"bias", "none"},           {"fan_in_fan_out", false},
      {"use_rslora", false}, {"use_dora", false},        {"inference_mode", true}};
  return config.dump(2) + "\n";
}

}  // namespace

void export_peft(const std::string& checkpoint, const std::string& dir, const std::string& base) {
  if (fs::exists(dir) && !(fs::is_directory(dir) && fs::is_empty(dir))) {
    throw_user("{} exists: name a new directory for the adapter", dir);
  }
  AdapterInfo info = read_adapter_info(checkpoint);
  if (!base.empty()) info.base = base;
  const ModelConfig model = read_checkpoint_info(checkpoint).model;
  const std::vector<ParamInfo> list = list_adapters(model, info.lora);
  std::vector<float> values(static_cast<size_t>(list.back().offset + list.back().shape.count()));
  const Tensor flat = view(values.data(), {static_cast<int64_t>(values.size())});
  read_adapter_tensors(checkpoint, model, {flat, {}, {}});

  std::vector<NamedTensor> tensors;
  const std::vector<LayerAdapters> layers = bind_adapters(model, info.lora, flat);
  for (int layer = 0; layer < model.layers; ++layer) {
    for (const Adapter& a : layers[static_cast<size_t>(layer)]) {
      const std::string module = module_name(layer, a.projection);
      tensors.push_back({module + ".lora_A.weight", a.a});
      tensors.push_back({module + ".lora_B.weight", a.b});
    }
  }
  const std::string temporary = dir + ".tmp";
  fs::remove_all(temporary);
  fs::create_directories(temporary);
  try {
    write_safetensors(temporary + "/adapter_model.safetensors", tensors, {{"format", "pt"}});
    write_file_atomically(temporary + "/adapter_config.json", print_config(info));
    fs::remove(dir);  // an empty directory, or nothing
    fs::rename(temporary, dir);
  } catch (...) {
    fs::remove_all(temporary);
    throw;
  }
}

}  // namespace pivot
