// What is around cuDNN's kernels: the offsets of documents, and rows that are not finite.
#include <cmath>
#include <limits>

#include "kernels/attention/cuda/cudnn.h"
#include "kernels/attention/cuda/paths.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {

TEST_CASE("cuDNN finds documents in every tensor, empty ones too", "[sanitize]") {
  CudaTestContext cuda;
  Context& ctx = cuda;
  std::vector<int32_t> offsets = {0, 0, 5, 1005, 1005};
  while (offsets.size() < 600) offsets.push_back(400'000'000);  // products beyond 32 bits
  const auto n = static_cast<int64_t>(offsets.size()) - 1;
  const CudaBuffer doc_offsets(ctx, {n + 1}, offsets);
  const attention::CudnnShape shape{
      .documents = n, .longest = 1024, .heads = 12, .kv_heads = 3, .width = 128};
  const size_t before = cuda.arena.used();
  const attention::CudnnDocuments d = attention::cudnn_documents(doc_offsets, shape, ctx);
  CHECK(cuda.arena.used() - before == attention::cudnn_documents_scratch(n));

  std::vector<int32_t> rows(static_cast<size_t>(n));
  std::vector<int64_t> qkv(offsets.size()), out(offsets.size()), lse(offsets.size());
  copy_to_host(rows.data(), d.rows, ctx);
  copy_to_host(qkv.data(), d.qkv_offsets, ctx);
  copy_to_host(out.data(), d.out_offsets, ctx);
  copy_to_host(lse.data(), d.lse_offsets, ctx);
  int64_t wrong = 0;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const int64_t row = offsets[i];
    wrong += static_cast<int64_t>(qkv[i] != row * 18 * 128 || out[i] != row * 12 * 128 ||
                                  lse[i] != row * 12);
    if (i + 1 < offsets.size()) {
      wrong += static_cast<int64_t>(rows[i] != offsets[i + 1] - offsets[i]);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("cuDNN's rows: all keys kept; a row without a finite lse is NaN", "[sanitize]") {
  CudaTestContext cuda;
  Context& ctx = cuda;
  constexpr int64_t kTokens = 101, kHeads = 3, kWidth = 64;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> lse_values(kTokens * kHeads, 0.5F);
  lse_values[4] = kInf;
  lse_values[9] = -kInf;
  lse_values[302] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<BFloat16> ones(kTokens * kHeads * kWidth, to_bfloat16(1));
  const CudaBuffer out(ctx, {kTokens, kHeads, kWidth}, ones);
  const CudaBuffer lse(ctx, {kTokens, kHeads}, lse_values);
  const CudaBuffer tau(ctx, DType::F32, {kTokens, kHeads});
  const CudaBuffer jcut(ctx, DType::I32, {kTokens, kHeads});
  AttentionForward a{};
  a.out = out;
  a.lse = lse;
  a.tau = tau;
  a.jcut = jcut;
  a.qkv = {nullptr, DType::BF16, {kTokens, 5, kWidth}};
  a.heads = kHeads;
  a.kv_heads = 1;
  attention::finish_cudnn_rows(a, ctx);

  const std::vector<float> lse_out = lse.download<float>();
  const std::vector<float> tau_out = tau.download<float>();
  const std::vector<int32_t> jcut_out = jcut.download<int32_t>();
  const std::vector<BFloat16> values = out.download<BFloat16>();
  int64_t wrong = 0;
  for (size_t row = 0; row < lse_values.size(); ++row) {
    const bool nan = !std::isfinite(lse_values[row]);
    wrong += static_cast<int64_t>(tau_out[row] != -kInf ||
                                  jcut_out[row] != static_cast<int32_t>(row / kHeads));
    wrong += static_cast<int64_t>(nan ? !std::isnan(lse_out[row]) : lse_out[row] != 0.5F);
    for (size_t d = row * kWidth; d < (row + 1) * kWidth; ++d) {
      const float x = to_float(values[d]);
      wrong += static_cast<int64_t>(nan ? !std::isnan(x) : x != 1);
    }
  }
  CHECK(wrong == 0);
  CHECK((out.intact() && lse.intact() && tau.intact() && jcut.intact()));
}

TEST_CASE("cuDNN's memory is what its passes declare") {
  AttentionBackward a{};
  a.qkv = {nullptr, DType::BF16, {8192, 40, 64}};
  a.doc_offsets = {nullptr, DType::I32, {5}};
  a.heads = 32;
  a.kv_heads = 4;
  a.max_document = 2000;  // rounded up to 2048
  const attention::CudnnShape shape = attention::cudnn_shape(a);
  CHECK(shape.longest == 2048);
  const size_t rows = size_t{4} * 32 * 2048;
  const size_t documents = attention::cudnn_documents_scratch(4);
  const size_t small = (size_t{1} << 20) + size_t{4} * 1024;
  const size_t heads = 2 * rows * 64 * 2;
  CHECK(attention::cudnn_scratch(a) == documents + small + rows * 4 + heads + rows * 2048 * 2);
  a.order = GradientOrder::Any;
  CHECK(attention::cudnn_scratch(a) == documents + small + rows * 4 + heads + rows * 64 * 4);
}

}  // namespace pivot::test
