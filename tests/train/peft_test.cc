/// Against Hugging Face's PEFT: scripts/make_peft_fixture.py wrote a tiny model with adapters, a
/// batch, and the losses and gradients that PyTorch gets.
#include "checkpoints/hf/peft.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>

#include "checkpoints/adapters.h"
#include "checkpoints/safetensors.h"
#include "src/base/check.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/model/transformer.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_context.h"

namespace pivot::test {
namespace {

constexpr const char* kFixture = "tests/golden/peft/tiny.safetensors";  // from the root

// The model of the fixture's script.
ModelConfig fixture_model() {
  ModelConfig c;
  c.vocab = 37;
  c.dim = 24;
  c.layers = 2;
  c.heads = 6;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.ffn_dim = 40;
  c.context = 64;
  return c;
}

LoraConfig fixture_lora() {
  LoraConfig lora;
  lora.rank = 3;
  lora.alpha = 5;
  return lora;
}

std::string peft_name(int layer, Projection p, const char* matrix) {
  return fmt::format("base_model.model.model.layers.{}.{}.{}.{}.weight", layer,
                     p < Projection::Gate ? "self_attn" : "mlp", to_string(p), matrix);
}

template <class T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const auto& bytes = file.entries().at(name).bytes;
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void fill(const Tensor& to, const SafetensorsFile& file, const std::string& name) {
  const auto& bytes = file.entries().at(name).bytes;
  REQUIRE(bytes.size() == to.bytes());
  std::memcpy(to.data, bytes.data(), bytes.size());
}

// Weights and adapters of the fixture.
struct Fixture {
  SafetensorsFile file{kFixture};
  ModelConfig config = fixture_model();
  LoraConfig lora = fixture_lora();
  std::vector<float> weights, adapters;
  Params params;

  Fixture() {
    weights.resize(static_cast<size_t>(parameter_count(config)));
    params = bind_params(config, view(weights.data(), {parameter_count(config)}));
    fill(params.embed, file, "model.embed_tokens.weight");
    fill(params.norm, file, "model.norm.weight");
    const std::vector<ParamInfo> list = list_adapters(config, lora);
    adapters.resize(static_cast<size_t>(list.back().offset + list.back().shape.count()));
    const auto bound = bind_adapters(config, lora, flat_adapters());
    for (int layer = 0; layer < config.layers; ++layer) {
      const LayerParams& w = params.layer[static_cast<size_t>(layer)];
      const std::string prefix = fmt::format("model.layers.{}.", layer);
      fill(w.attn_norm, file, prefix + "input_layernorm.weight");
      fill(w.ffn_norm, file, prefix + "post_attention_layernorm.weight");
      for (const Adapter& a : bound[static_cast<size_t>(layer)]) {
        const char* part = a.projection < Projection::Gate ? "self_attn." : "mlp.";
        fill(rows_of(w, config, a.projection), file,
             prefix + part + to_string(a.projection) + ".weight");
        fill(a.a, file, peft_name(layer, a.projection, "lora_A"));
        fill(a.b, file, peft_name(layer, a.projection, "lora_B"));
      }
    }
  }
  Tensor flat_adapters() { return view(adapters.data(), {static_cast<int64_t>(adapters.size())}); }
};

TEST_CASE("peft: the same losses and adapter gradients") {
  Fixture f;
  TestContext context;
  std::vector<float> turns =
      rope_frequencies(f.config.head_dim, f.config.rope_theta, f.config.rope_scaling);
  const auto bound = bind_adapters(f.config, f.lora, f.flat_adapters());
  const Model model{.config = f.config,
                    .params = f.params,
                    .rope_frequencies = view(turns.data(), {f.config.head_dim / 2}),
                    .attention = parse_layer_policies("dense", f.config.layers),
                    .lora = {f.lora, bound, bound}};
  auto tokens = values_of<int32_t>(f.file, "tokens");
  auto targets = values_of<int32_t>(f.file, "targets");
  const auto rows = static_cast<int64_t>(tokens.size());
  std::vector<int32_t> positions, offsets = {0, static_cast<int32_t>(rows)};
  for (int32_t i = 0; i < rows; ++i) positions.push_back(i);
  std::vector<float> grads(f.adapters.size()), loss(tokens.size());
  Gradients gradients{
      {}, bind_adapters(f.config, f.lora, view(grads.data(), {f.flat_adapters().count()}))};
  forward_backward(model,
                   {view(tokens.data(), {rows}), view(positions.data(), {rows}),
                    view(offsets.data(), {2}), rows},
                   view(targets.data(), {rows}), 1.0F, Recompute::None, gradients,
                   view(loss.data(), {rows}), nullptr, context);

  const std::vector<float> want = values_of<float>(f.file, "losses");
  for (size_t i = 0; i < want.size(); ++i) {
    CHECK(std::abs(loss[i] - want[i]) < 2e-5);  // of about 4, in fp32 on both sides
  }
  for (int layer = 0; layer < f.config.layers; ++layer) {
    for (const Adapter& a : gradients.adapters[static_cast<size_t>(layer)]) {
      for (const auto& [name, tensor] : {std::pair("lora_A", a.a), std::pair("lora_B", a.b)}) {
        const auto theirs =
            values_of<float>(f.file, "grad." + peft_name(layer, a.projection, name));
        double worst = 0, largest = 0;
        for (size_t i = 0; i < theirs.size(); ++i) {
          worst = std::max(worst, std::abs(double{theirs[i]} - tensor.as<float>()[i]));
          largest = std::max(largest, std::abs(double{theirs[i]}));
        }
        CAPTURE(layer, to_string(a.projection), name, worst, largest);
        REQUIRE(static_cast<int64_t>(theirs.size()) == tensor.count());
        CHECK(largest > 1e-3);
        CHECK(worst < 2e-5 * std::max(largest, 1.0));
      }
    }
  }
}

TEST_CASE("peft: an exported adapter has PEFT's own names, shapes and values") {
  log::set_level(log::Level::Error);
  Fixture f;
  const TempDir dir;
  CheckpointInfo info;
  info.model = f.config;
  info.attention = "dense";
  info.tokenizer_kind = "bytes";
  info.state.step = 3;
  const AdapterInfo adapters{f.lora, "some/base", "0123456789abcdef"};
  const std::string checkpoint =
      save_checkpoint(dir / "run", info, view(f.weights.data(), {parameter_count(f.config)}), {},
                      {}, {adapter_file(f.config, adapters, {f.flat_adapters(), {}, {}}, 3)});
  export_peft(checkpoint, dir / "adapter");

  const SafetensorsFile written(dir / "adapter/adapter_model.safetensors");
  std::set<std::string> names, theirs;
  for (const auto& [name, entry] : written.entries()) names.insert(name);
  for (const auto& [name, entry] : f.file.entries()) {
    if (name.starts_with("base_model.")) theirs.insert(name);
  }
  CHECK(names == theirs);
  for (const std::string& name : names) {
    CAPTURE(name);
    CHECK(written.entries().at(name).shape == f.file.entries().at(name).shape);
    CHECK(values_of<float>(written, name) == values_of<float>(f.file, name));
  }
  const auto config = nlohmann::json::parse(read_file(dir / "adapter/adapter_config.json"));
  CHECK(config["r"] == 3);
  CHECK(config["lora_alpha"] == 5);
  CHECK(config["base_model_name_or_path"] == "some/base");
  CHECK(config["target_modules"].size() == 7);

  CHECK_THROWS_WITH(export_peft(checkpoint, dir / "adapter"), ContainsSubstring("exists"));
  const std::string plain = save_checkpoint(
      dir / "plain", info, view(f.weights.data(), {parameter_count(f.config)}), {}, {});
  CHECK_THROWS_WITH(export_peft(plain, dir / "none"), ContainsSubstring("adapters.h5"));
  CHECK_FALSE(std::filesystem::exists(dir / "none"));
}

TEST_CASE("adapters: a damaged or foreign file is refused by name") {
  log::set_level(log::Level::Off);
  Fixture f;
  const TempDir dir;
  CheckpointInfo info;
  info.model = f.config;
  info.attention = "dense";
  info.tokenizer_kind = "bytes";
  const std::string checkpoint = save_checkpoint(
      dir / "run", info, view(f.weights.data(), {parameter_count(f.config)}), {}, {},
      {adapter_file(f.config, {f.lora, "base", "0"}, {f.flat_adapters(), {}, {}}, 0)});
  const std::string path = checkpoint + "/adapters.h5";
  std::string bytes = read_file(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file_atomically(path, bytes);
  CHECK_THROWS_WITH(read_adapter_info(checkpoint), ContainsSubstring("adapters.h5"));
  CHECK_THROWS_AS(read_adapter_tensors(checkpoint, f.config, {f.flat_adapters(), {}, {}}),
                  UserError);
}

}  // namespace
}  // namespace pivot::test
