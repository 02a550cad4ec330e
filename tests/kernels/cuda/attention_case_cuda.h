#pragma once
/// Runs of the CUDA paths of attention on problems of tests/kernels/attention_case.h.
///
///   const AttentionInputs in(c.problem(), DType::BF16, seed);
///   const AttentionRun run = run_path(tiled_path(), in, ctx);
///   check_attention(in, run, kTiledPrecision);

#include <optional>

#include "kernels/attention/cuda/paths.h"
#include "tests/kernels/cuda/attention_check.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {

/// One of the implementations that kernels/attention/cuda/paths.h lists.
struct AttentionPath {
  const char* name;
  size_t (*forward_scratch)(const AttentionForward&);
  size_t (*backward_scratch)(const AttentionBackward&);
  void (*forward)(const AttentionForward&, Context&);
  void (*backward)(const AttentionBackward&, Context&);
};
inline AttentionPath naive_path() {
  using namespace attention;
  return {"naive", &naive_scratch, &naive_scratch, &naive_forward, &naive_backward};
}
inline AttentionPath tiled_path() {
  using namespace attention;
  return {"tiled", &tiled_scratch, &tiled_scratch, &tiled_forward, &tiled_backward};
}
inline AttentionPath cudnn_path() {
  using namespace attention;
  return {"cudnn", &cudnn_scratch, &cudnn_scratch, &cudnn_forward, &cudnn_backward};
}
/// The op's twin, as the model calls it.
inline AttentionPath dispatched_path() {
  return {"dispatched", &cuda_scratch_bytes, &cuda_scratch_bytes, &attention_forward_cuda,
          &attention_backward_cuda};
}

/// Runs `body` with scratch of exactly `bytes`, full of NaN.
template <class Body>
void with_exact_scratch(size_t bytes, Context& ctx, const Body& body) {
  Arena arena(ctx.device, bytes);
  if (bytes > 0) {
    const Arena::Scope scope = arena.scope();
    const std::vector<uint8_t> nan(bytes, 0xFF);
    copy_from_host(arena.tensor(DType::U8, {static_cast<int64_t>(bytes)}), nan.data(), ctx);
  }
  Context exact{ctx.device, ctx.pool, arena, ctx.ledger};
  body(exact);
  cuda::check_launch("attention");
  cuda::synchronize(ctx.device.index);
  CHECK(arena.used() == 0);
}

/// The elements of a buffer as floats.
inline std::vector<float> floats_of(const CudaBuffer& buffer) {
  CHECK(buffer.intact());
  if (buffer.tensor().dtype == DType::F32) return buffer.download<float>();
  std::vector<float> values;
  for (const BFloat16 x : buffer.download<BFloat16>()) values.push_back(to_float(x));
  return values;
}

/// Arguments of both passes in device memory.
class DeviceAttention {
 public:
  DeviceAttention(const AttentionInputs& in, Context& ctx, Diagnostics diagnostics)
      : in_(in),
        ctx_(ctx),
        diagnostics_(diagnostics == Diagnostics::On),
        qkv_(ctx, in.dtype, in.by_token()),
        dout_(ctx, in.dtype, in.by_query()),
        offsets_(ctx, {static_cast<int64_t>(in.problem.doc_offsets.size())},
                 in.problem.doc_offsets),
        out_(ctx, in.dtype, in.by_query()),
        dqkv_(ctx, in.dtype, in.by_token()),
        lse_(ctx, DType::F32, in.by_row()),
        tau_(ctx, DType::F32, in.by_row()),
        jcut_(ctx, DType::I32, in.by_row()),
        lse_visible_(ctx, DType::F32, in.by_row()),
        entropy_(ctx, DType::F32, in.by_row()),
        nan_rows_(ctx, {1}, std::vector<int32_t>{0}) {
    upload(qkv_, in.qkv);
    upload(dout_, in.dout);
    const std::vector<int32_t>& offsets = in.problem.doc_offsets;
    for (size_t i = 1; i < offsets.size(); ++i) {
      longest_ = std::max<int64_t>(longest_, offsets[i] - offsets[i - 1]);
    }
  }

  AttentionForward forward_args() const {
    const Tensor absent;
    return {.out = out_.tensor(),
            .lse = lse_.tensor(),
            .tau = tau_.tensor(),
            .jcut = jcut_.tensor(),
            .lse_visible = diagnostics_ ? lse_visible_.tensor() : absent,
            .entropy = diagnostics_ ? entropy_.tensor() : absent,
            .nan_rows = diagnostics_ ? nan_rows_.tensor() : absent,
            .qkv = qkv_.tensor(),
            .doc_offsets = offsets_.tensor(),
            .heads = in_.problem.heads,
            .kv_heads = in_.problem.kv_heads,
            .scale = static_cast<float>(in_.problem.scale),
            .max_document = longest_,
            .policy = in_.problem.policy};
  }
  AttentionBackward backward_args() const {
    return {.dqkv = dqkv_.tensor(),
            .dout = dout_.tensor(),
            .out = out_.tensor(),
            .lse = lse_.tensor(),
            .tau = tau_.tensor(),
            .jcut = jcut_.tensor(),
            .qkv = qkv_.tensor(),
            .doc_offsets = offsets_.tensor(),
            .heads = in_.problem.heads,
            .kv_heads = in_.problem.kv_heads,
            .scale = static_cast<float>(in_.problem.scale),
            .max_document = longest_,
            .policy = in_.problem.policy};
  }

  void forward(const AttentionPath& path) const {
    const AttentionForward args = forward_args();
    check(args);
    with_exact_scratch(path.forward_scratch(args), ctx_,
                       [&](Context& exact) { path.forward(args, exact); });
  }
  void backward(const AttentionPath& path) const {
    const AttentionBackward args = backward_args();
    check(args);
    with_exact_scratch(path.backward_scratch(args), ctx_,
                       [&](Context& exact) { path.backward(args, exact); });
  }

  /// What is in memory; the statistics stay empty unless asked for.
  AttentionRun results() const {
    AttentionRun r;
    r.out = floats_of(out_);
    r.lse = floats_of(lse_);
    r.tau = floats_of(tau_);
    r.dqkv = floats_of(dqkv_);
    CHECK(jcut_.intact());
    r.jcut = jcut_.download<int32_t>();
    if (!diagnostics_) return r;
    r.lse_visible = floats_of(lse_visible_);
    r.entropy = floats_of(entropy_);
    CHECK(nan_rows_.intact());
    r.nan_rows = nan_rows_.download<int32_t>()[0];
    return r;
  }

 private:
  static void upload(CudaBuffer& to, const std::vector<float>& values) {
    if (to.tensor().dtype == DType::F32) {
      to.upload(values);
      return;
    }
    std::vector<BFloat16> exact;
    for (const float x : values) exact.push_back(to_bfloat16(x));
    to.upload(exact);
  }

  const AttentionInputs& in_;
  Context& ctx_;
  bool diagnostics_;
  int64_t longest_ = 0;
  CudaBuffer qkv_, dout_, offsets_, out_, dqkv_, lse_, tau_, jcut_, lse_visible_, entropy_;
  CudaBuffer nan_rows_;
};

/// Forward by one path and backward by another (both the same by default).
inline AttentionRun run_path(const AttentionPath& forward, const AttentionInputs& in, Context& ctx,
                             Diagnostics diagnostics = Diagnostics::On,
                             std::optional<AttentionPath> backward = {}) {
  const DeviceAttention device(in, ctx, diagnostics);
  device.forward(forward);
  device.backward(backward.value_or(forward));
  return device.results();
}
/// Forward alone: dqkv stays NaN.
inline AttentionRun run_forward(const AttentionPath& path, const AttentionInputs& in, Context& ctx,
                                Diagnostics diagnostics = Diagnostics::On) {
  const DeviceAttention device(in, ctx, diagnostics);
  device.forward(path);
  return device.results();
}

}  // namespace pivot::test
