#include "src/model/params.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/philox.h"

namespace pivot {
namespace {

constexpr int64_t kInitGrain = 1 << 14;

// FNV-1a: the part of a parameter's name in its random stream. Fixed for ever: initial weights are
// a function of it.
uint32_t name_stream(const std::string& name) {
  uint32_t h = 2166136261U;
  for (const char c : name) h = (h ^ static_cast<uint8_t>(c)) * 16777619U;
  return h;
}

void require(bool condition, const char* field, const char* what) {
  if (!condition) throw_user("model.{} {}", field, what);
}

}  // namespace

void validate(const ModelConfig& c) {
  require(c.vocab > 0, "vocab", "must be positive (0 only where a tokenizer gives it)");
  require(c.dim > 0, "dim", "must be positive");
  require(c.layers > 0, "layers", "must be positive");
  require(c.heads > 0, "heads", "must be positive");
  require(c.kv_heads > 0 && c.heads % c.kv_heads == 0, "kv_heads", "must divide heads");
  require(c.head_dim > 0 && c.head_dim % 8 == 0, "head_dim", "must be a multiple of 8");
  require(c.ffn_dim > 0, "ffn_dim", "must be positive");
  require(c.norm_eps > 0, "norm_eps", "must be positive");
  require(c.rope_theta > 1, "rope_theta", "must be above 1");
  require(c.context > 0, "context", "must be positive");
  require(c.init_std >= 0, "init_std", "must not be negative");
  rope_frequencies(c.head_dim, c.rope_theta, c.rope_scaling);
}

void validate_dtype(const ModelConfig& c, DType dtype) {
  if (dtype != DType::BF16 || c.head_dim % 16 == 0) return;
  throw_user("model.head_dim {} is not a multiple of 16, as bf16 needs: compute with dtype=f32",
             c.head_dim);
}

float attention_scale(const ModelConfig& c) {
  const float plain = 1.0F / std::sqrt(static_cast<float>(c.head_dim));
  const double factor = rope_attention_factor(c.rope_scaling);
  return factor == 1 ? plain : static_cast<float>(factor * factor / std::sqrt(c.head_dim));
}

std::vector<ParamInfo> list_params(const ModelConfig& config) {
  std::vector<ParamInfo> list;
  int64_t offset = 0;
  Params unused;
  visit_params(unused, config,
               [&](const std::string& name, Tensor&, Shape shape, Init init, Decay decay) {
                 list.push_back({name, shape, init, decay, offset});
                 offset += shape.count();
               });
  return list;
}

void for_each_piece(const std::vector<ParamInfo>& params, int64_t elements,
                    const std::function<void(const ParamInfo&, int64_t, int64_t)>& visit) {
  for (const ParamInfo& p : params) {
    const int64_t rows = p.shape[0];
    const int64_t step = std::max<int64_t>(1, elements / (p.shape.count() / rows));
    for (int64_t begin = 0; begin < rows; begin += step) {
      visit(p, begin, std::min(begin + step, rows));
    }
  }
}

int64_t parameter_count(const ModelConfig& config) {
  const std::vector<ParamInfo> list = list_params(config);
  return list.back().offset + list.back().shape.count();
}

Params bind_params(const ModelConfig& config, const Tensor& flat) {
  PIVOT_CHECK(flat.count() == parameter_count(config), "{} elements for {} parameters",
              flat.count(), parameter_count(config));
  Params params;
  int64_t offset = 0;
  visit_params(params, config, [&](const std::string&, Tensor& tensor, Shape shape, Init, Decay) {
    tensor = flat.rows(offset, offset + shape.count()).reshaped(shape);
    offset += shape.count();
  });
  if (config.tied_embeddings) params.head = params.embed;
  return params;
}

void init_params(const ModelConfig& config, const Tensor& flat, uint64_t seed, Context& ctx) {
  init_params(list_params(config), config, flat, seed, ctx);
}

void init_params(const std::vector<ParamInfo>& params, const ModelConfig& config,
                 const Tensor& flat, uint64_t seed, Context& ctx) {
  if (ctx.device.is_plan()) return;
  // Drawn on the CPU: the same weights on every device.
  DeviceBuffer host;
  float* data = flat.as<float>();
  if (ctx.device.is_cuda()) {
    host = DeviceBuffer({}, flat.bytes());
    data = static_cast<float*>(host.data());
  }
  for (const ParamInfo& p : params) {
    float* values = data + p.offset;
    const Philox random(seed, Stream::Init, name_stream(p.name));
    const double stddev = p.init == Init::Residual
                              ? config.init_std / std::sqrt(2.0 * config.layers)
                              : config.init_std;
    const float bound = p.init == Init::Uniform
                            ? 1.0F / std::sqrt(static_cast<float>(p.shape[p.shape.rank - 1]))
                            : 0.0F;
    ctx.pool.for_ranges(p.shape.count(), kInitGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        switch (p.init) {
          case Init::Normal:
          case Init::Residual:
            values[i] = static_cast<float>(stddev * random.normal(static_cast<uint64_t>(i)));
            break;
          case Init::Uniform:
            values[i] = bound * (2 * random.uniform(static_cast<uint64_t>(i)) - 1);
            break;
          case Init::Ones:
            values[i] = 1.0F;
            break;
          case Init::Zeros:
            values[i] = 0.0F;
            break;
        }
      }
    });
  }
  if (ctx.device.is_cuda()) copy_from_host(flat, data, ctx);
}

}  // namespace pivot
