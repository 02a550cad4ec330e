// The engine on CUDA: what the CPU computes, the same bits with and without a graph and in any
// company. Emulated, the products are plain loops (tests/simt/emulated_blas.cu).
#include <cmath>
#include <cstring>

#include "src/base/philox.h"
#include "src/decode/engine.h"
#include "tests/decode/small_model.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

ModelConfig config_of(int kv_heads = 2) {
  return {.vocab = 104,
          .dim = 32,
          .layers = 2,
          .heads = 4,
          .kv_heads = kv_heads,
          .head_dim = 16,
          .ffn_dim = 48,
          .rope_scaling = {},
          .context = 200,
          .qk_norm = true};
}

std::vector<int32_t> random_tokens(int64_t count, uint64_t seed) {
  std::vector<int32_t> tokens;
  const Philox rng(seed, Stream::Test);
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(rng.below(104, static_cast<uint64_t>(i))));
  }
  return tokens;
}

// The small model's weights and tables in device memory, rounded to `dtype`.
class DeviceModel {
 public:
  DeviceModel(test::SmallModel& host, DType dtype) : model_(host.model()) {
    const Device device = cuda_.device;
    const int64_t count = parameter_count(model_.config);
    // Parameters lie one after the other, the embedding first.
    const float* values = host.model().params.embed.as<float>();
    weights_ = DeviceBuffer(device, static_cast<size_t>(count) * dtype_bytes(dtype));
    const Tensor flat{weights_.data(), dtype, {count}};
    std::vector<BFloat16> rounded;
    for (int64_t i = 0; i < count; ++i) rounded.push_back(to_bfloat16(values[i]));
    copy_from_host(flat, dtype == DType::F32 ? static_cast<const void*>(values) : rounded.data(),
                   cuda_);
    const Tensor turns = model_.rope_frequencies;
    frequencies_ = DeviceBuffer(device, turns.bytes());
    model_.params = bind_params(model_.config, flat);
    model_.rope_frequencies = {frequencies_.data(), DType::F32, turns.shape};
    copy_from_host(model_.rope_frequencies, turns.data, cuda_);
  }

  std::unique_ptr<Engine> engine(const std::string& spec, int sequences) {
    const auto policies = parse_layer_policies(spec, model_.config.layers);
    return std::make_unique<Engine>(model_,
                                    EngineOptions{.attention = policies,
                                                  .prefill = policies,
                                                  .max_context = 0,
                                                  .max_sequences = sequences},
                                    cuda_.device, cuda_.pool);
  }

 private:
  test::CudaTestContext cuda_{size_t{1} << 16};
  DeviceBuffer weights_, frequencies_;
  Model model_;
};

std::vector<float> logits_of(const Engine& engine, int id) {
  return {engine.logits(id), engine.logits(id) + engine.vocab()};
}

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
}

int32_t best(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

namespace {

struct Difference {
  double worst = 0, largest = 0;  // of the logits of the CPU's engine in F32
};

// Logits of 61 tokens of prompt and 9 steps, and kept mass, against the CPU's.
Difference compare_with_cpu(const ModelConfig& config, const char* spec, DType dtype) {
  test::SmallModel small(config, 8.0F);
  ThreadPool pool(2);
  const auto policies = parse_layer_policies(spec, 2);
  Engine expected(small.model(), {.attention = policies, .prefill = policies, .max_context = 0},
                  Device{}, pool);
  DeviceModel on_device(small, dtype);
  const auto engine = on_device.engine(spec, 1);
  const std::vector<int32_t> tokens = random_tokens(70, 5);
  const std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + 61);
  const int a = expected.prefill(prompt);
  const int b = engine->prefill(prompt);
  Difference d;
  for (size_t t = prompt.size();; ++t) {
    const std::vector<float> want = logits_of(expected, a), got = logits_of(*engine, b);
    for (size_t i = 0; i < want.size(); ++i) {
      d.worst = std::max(d.worst, std::abs(double{want[i]} - got[i]));
      d.largest = std::max(d.largest, std::abs(double{want[i]}));
    }
    if (t == tokens.size()) break;
    expected.step({a}, {tokens[t]});
    engine->step({b}, {tokens[t]});
  }
  for (size_t layer = 0; layer < 2; ++layer) {
    const double margin = dtype == DType::F32 ? 1e-4 : 0.05;
    CHECK(engine->kept_mass()[layer] == Approx(expected.kept_mass()[layer]).margin(margin));
  }
  return d;
}

// Shapes of families: SmolLM2 (nine heads on three), Llama 3 (eight on one), Qwen2 (bias).
std::vector<ModelConfig> families() {
  ModelConfig smol = config_of();
  smol.qk_norm = false;
  smol.heads = 9;
  smol.kv_heads = 3;
  smol.head_dim = 64;
  ModelConfig llama = config_of(1);
  llama.qk_norm = false;
  llama.heads = 8;
  llama.tied_embeddings = false;
  ModelConfig qwen = config_of(1);
  qwen.heads = 3;
  qwen.qkv_bias = true;
  return {smol, llama, qwen};
}

}  // namespace

TEST_CASE("cuda engine: F32 gives the CPU's logits and kept mass") {
  for (const char* spec : {"dense", "topk:k=8", "0:dense;1:topk:10%,sink=2,group=sum"}) {
    CAPTURE(spec);
    const Difference d = compare_with_cpu(config_of(), spec, DType::F32);
    // fp32 sums over at most 70 keys, 48 channels and 2 layers in other orders; logits below 10.
    CHECK(d.largest > 0.5);
    CHECK(d.worst < 2e-4);
  }
}

TEST_CASE("cuda engine: every family's shapes, in F32 and in BF16") {
  for (const ModelConfig& config : families()) {
    for (const char* spec : {"dense", "topk:k=8"}) {
      CAPTURE(config.heads, config.kv_heads, spec);
      const Difference single = compare_with_cpu(config, spec, DType::F32);
      CHECK(single.largest > 0.5);
      CHECK(single.worst < 1e-3);
      // Weights and activations rounded to 8 bits, each a relative 2^-9, through two layers; with
      // Top-k a key near the threshold changes places, and one of eight values with it.
      const Difference half = compare_with_cpu(config, spec, DType::BF16);
      CHECK(half.worst > single.worst);
      CHECK(half.worst < (std::string(spec) == "dense" ? 0.1 : 0.25) * half.largest);
    }
  }
}

TEST_CASE("cuda engine: a step recorded as a graph has the bits of one that is not") {
  test::SmallModel small(config_of(), 8.0F);
  DeviceModel on_device(small, DType::BF16);
  const std::vector<int32_t> prompt = random_tokens(64, 1);  // the next token begins a page
  for (const char* spec : {"dense", "topk:k=8"}) {
    CAPTURE(spec);
    const auto eager = on_device.engine(spec, 2), recorded = on_device.engine(spec, 2);
    const int other = recorded->prefill(random_tokens(5, 2));
    for (const int32_t token : {1, 2, 3}) recorded->step({other}, {token});
    const int a = eager->prefill(prompt), b = recorded->prefill(prompt);
    CHECK(same_bits(logits_of(*eager, a), logits_of(*recorded, b)));
    const int32_t next = best(logits_of(*eager, a));
    eager->step({a}, {next});
    recorded->step({b}, {next});
    CHECK(same_bits(logits_of(*eager, a), logits_of(*recorded, b)));
  }
}

TEST_CASE("cuda engine: results do not depend on the company, bit for bit") {
  test::SmallModel small(config_of(), 8.0F);
  DeviceModel on_device(small, DType::BF16);
  const std::vector<int64_t> lengths = {3, 63, 40};
  const auto together = on_device.engine("topk:k=9", 4);
  std::vector<int> ids;
  for (const int64_t length : lengths) {
    ids.push_back(together->prefill(random_tokens(length, static_cast<uint64_t>(length))));
  }
  const auto greedy = [](const Engine& engine, const std::vector<int>& of) {
    std::vector<int32_t> tokens;
    for (const int id : of) tokens.push_back(best(logits_of(engine, id)));
    return tokens;
  };
  for (int t = 0; t < 3; ++t) together->step(ids, greedy(*together, ids));
  for (size_t s = 0; s < lengths.size(); ++s) {
    const auto alone = on_device.engine("topk:k=9", 1);
    const int id = alone->prefill(random_tokens(lengths[s], static_cast<uint64_t>(lengths[s])));
    for (int t = 0; t < 3; ++t) alone->step({id}, greedy(*alone, {id}));
    CHECK(same_bits(logits_of(*alone, id), logits_of(*together, ids[s])));
  }
  // A fork goes on as the original, and apart from it.
  const int fork = together->fork(ids[1]);
  together->step({ids[1], fork}, {7, 8});
  const int again = (together->release(ids[0]), together->fork(fork));
  together->step({fork, again, ids[1]}, {9, 9, 9});
  CHECK(same_bits(logits_of(*together, fork), logits_of(*together, again)));
  CHECK_FALSE(same_bits(logits_of(*together, fork), logits_of(*together, ids[1])));
}

TEST_CASE("cuda engine: tokens appended at once have the bits of steps, also after a truncation") {
  test::SmallModel small(config_of(), 8.0F);
  DeviceModel on_device(small, DType::BF16);
  const std::vector<int32_t> tokens = random_tokens(80, 3);
  const std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + 60);
  for (const char* spec : {"dense", "topk:k=8"}) {
    CAPTURE(spec);
    const auto engine = on_device.engine(spec, 3);
    const int stepped = engine->prefill(prompt), once = engine->prefill(prompt);
    const int pieces = engine->fork(once);
    for (size_t t = 60; t < tokens.size(); ++t) engine->step({stepped}, {tokens[t]});
    engine->extend(once, {tokens.begin() + 60, tokens.end()});  // more rows than one step has
    CHECK(same_bits(logits_of(*engine, once), logits_of(*engine, stepped)));
    engine->extend(pieces, {9, 9, 9});
    engine->truncate(pieces, 60);
    engine->extend(pieces, {tokens.begin() + 60, tokens.begin() + 63});
    engine->extend(pieces, {tokens.begin() + 63, tokens.end()});
    CHECK(same_bits(logits_of(*engine, pieces), logits_of(*engine, stepped)));
  }
}

}  // namespace pivot
