#include "train/optimizer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cast/cast.h"
#include "kernels/reduce/reduce.h"
#include "kernels/update_gate/update_gate.h"
#include "src/base/check.h"

namespace pivot {
namespace {

struct Segments {
  std::vector<int64_t> end;
  std::vector<float> decay;
};

// Neighbours of equal decay are one segment.
Segments decay_segments(const std::vector<ParamInfo>& params, double weight_decay) {
  Segments s;
  for (const ParamInfo& p : params) {
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

Optimizer::Optimizer(const std::vector<ParamInfo>& params, const OptimOptions& options,
                     DType compute, Context& ctx)
    : options_(options) {
  const int64_t count = params.back().offset + params.back().shape.count();
  const auto take = [&](size_t slot, DType dtype, Shape shape) {
    Tensor t{nullptr, dtype, shape};
    memory_[slot] = DeviceBuffer(ctx.device, t.bytes());
    t.data = memory_[slot].data();
    return t;
  };
  weights_ = take(0, DType::F32, {count});
  grads_ = take(1, DType::F32, {count});
  m_ = take(2, DType::F32, {count});
  v_ = take(3, DType::F32, {count});
  if (compute != DType::F32) compute_ = take(4, compute, {count});

  const Segments s = decay_segments(params, options.weight_decay);
  const auto n = static_cast<int64_t>(s.end.size());
  // The I64 ones first: all are aligned then.
  const std::pair<Tensor*, Tensor> small[] = {{&segment_end_, {nullptr, DType::I64, {n}}},
                                              {&decay_, {nullptr, DType::F32, {n}}},
                                              {&scalars_, {nullptr, DType::F32, {5}}},
                                              {&limits_, {nullptr, DType::F32, {2}}},
                                              {&result_, {nullptr, DType::F32, {3}}}};
  size_t bytes = 0;
  for (const auto& [tensor, shape] : small) bytes += shape.bytes();
  small_ = DeviceBuffer(ctx.device, bytes);
  auto* at = static_cast<std::byte*>(small_.data());
  for (const auto& [tensor, shape] : small) {
    *tensor = shape;
    if (at == nullptr) continue;
    tensor->data = at;
    at += shape.bytes();
  }
  copy_from_host(segment_end_, s.end.data(), ctx);
  copy_from_host(decay_, s.decay.data(), ctx);
}

void Optimizer::weights_changed(Context& ctx) {
  if (compute_.present()) cast({.y = compute_, .x = weights_}, ctx);
}

void Optimizer::zero_grads(Context& ctx) {
  fill_zero(grads_, ctx);
}

void Optimizer::prepare(const UpdateArgs& args, Context& ctx) {
  const AdamWScalars scalars = adamw_scalars(args.lr, options_.beta1, options_.beta2, args.update);
  const float limits[] = {static_cast<float>(std::max<int64_t>(args.targets, 1)),
                          static_cast<float>(args.loss_limit)};
  copy_from_host(scalars_, &scalars, ctx);
  copy_from_host(limits_, limits, ctx);
}

void Optimizer::update(const Tensor& losses, Context& ctx) {
  const Arena::Scope scope = ctx.scratch.scope();
  const Tensor norm_squared = ctx.scratch.tensor(DType::F32, {1});
  sum_squares({.sum = norm_squared, .x = grads_}, ctx);
  update_gate({.scalars = scalars_,
               .result = result_,
               .losses = losses,
               .norm_squared = norm_squared,
               .limits = limits_,
               .grad_clip = static_cast<float>(options_.grad_clip)},
              ctx);
  adamw({.param = weights_,
         .m = m_,
         .v = v_,
         .grad = grads_,
         .copy_bf16 = compute_,
         .segment_end = segment_end_,
         .decay = decay_,
         .scalars = scalars_,
         .beta1 = static_cast<float>(options_.beta1),
         .beta2 = static_cast<float>(options_.beta2),
         .eps = static_cast<float>(options_.eps)},
        ctx);
}

UpdateResult Optimizer::result(Context& ctx) const {
  UpdateResult result{};
  static_assert(sizeof(result) == 3 * sizeof(float));
  copy_to_host(&result, result_, ctx);
  return result;
}

}  // namespace pivot
