#include "train/optimizer.h"

#include <cmath>
#include <vector>

#include "kernels/reduce/reduce.h"
#include "src/base/check.h"

namespace pivot {
namespace {

struct Segments {
  std::vector<int64_t> end;
  std::vector<float> decay;
};

// Neighbours of equal decay are one segment.
Segments decay_segments(const ModelConfig& config, double weight_decay) {
  Segments s;
  for (const ParamInfo& p : list_params(config)) {
    const float decay = p.decay == Decay::Yes ? static_cast<float>(weight_decay) : 0.0F;
    const int64_t end = p.offset + p.shape.count();
    if (!s.decay.empty() && s.decay.back() == decay) {
      s.end.back() = end;
    } else {
      s.end.push_back(end);
      s.decay.push_back(decay);
    }
  }
  return s;
}

}  // namespace

Optimizer::Optimizer(const ModelConfig& config, const OptimOptions& options, Context& ctx)
    : options_(options) {
  const int64_t count = parameter_count(config);
  Tensor* const flat[] = {&weights_, &grads_, &m_, &v_};
  for (size_t i = 0; i < 4; ++i) {
    memory_[i] = DeviceBuffer(ctx.device, static_cast<size_t>(count) * sizeof(float));
    *flat[i] = view(static_cast<float*>(memory_[i].data()), {count});
  }
  step_ = DeviceBuffer(ctx.device, sizeof(AdamWScalars));
  scalars_ = view(static_cast<float*>(step_.data()), {kAdamWScalars});
  const Segments s = decay_segments(config, options.weight_decay);
  const auto n = static_cast<int64_t>(s.end.size());
  segments_ = DeviceBuffer(ctx.device, s.end.size() * (sizeof(int64_t) + sizeof(float)));
  auto* const ends = static_cast<int64_t*>(segments_.data());
  segment_end_ = view(ends, {n});
  decay_ = view(ends == nullptr ? nullptr : reinterpret_cast<float*>(ends + n), {n});
  copy_from_host(segment_end_, s.end.data(), ctx);
  copy_from_host(decay_, s.decay.data(), ctx);
}

size_t Optimizer::bytes() const {
  return weights_.bytes() + grads_.bytes() + m_.bytes() + v_.bytes();
}

void Optimizer::zero_grads(Context& ctx) {
  fill_zero(grads_, ctx);
}

double Optimizer::grad_norm(Context& ctx) const {
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor sum = ctx.scratch.tensor(DType::F32, {1});
  sum_squares({.sum = sum, .x = grads_}, ctx);
  float value = 0;
  copy_to_host(&value, sum, ctx);
  return std::sqrt(static_cast<double>(value));
}

double Optimizer::clip_factor(double norm) const {
  return options_.grad_clip > 0 && norm > options_.grad_clip ? options_.grad_clip / norm : 1.0;
}

void Optimizer::update(double lr, double grad_scale, int64_t update, Context& ctx) {
  AdamWScalars scalars = adamw_scalars(lr, options_.beta1, options_.beta2, update);
  scalars.grad_scale = static_cast<float>(grad_scale);
  copy_from_host(scalars_, &scalars, ctx);
  adamw({.param = weights_,
         .m = m_,
         .v = v_,
         .grad = grads_,
         .copy_bf16 = {},
         .segment_end = segment_end_,
         .decay = decay_,
         .scalars = scalars_,
         .beta1 = static_cast<float>(options_.beta1),
         .beta2 = static_cast<float>(options_.beta2),
         .eps = static_cast<float>(options_.eps)},
        ctx);
}

}  // namespace pivot
