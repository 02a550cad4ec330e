#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/attention/score_bits.h"
#include "src/base/philox.h"
#include "tests/simt/probes.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

using test::CudaBuffer;
using test::CudaTestContext;

TEST_CASE("simt: block reductions in their fixed order") {
  CudaTestContext cuda;
  constexpr int kBlocks = 7;
  std::vector<float> values(kBlocks * simt_probe::kThreads);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i) * 0.7F);
  CudaBuffer sums(cuda, DType::F32, {kBlocks});
  CudaBuffer tops(cuda, DType::F32, {kBlocks});
  const CudaBuffer in(cuda, {kBlocks, simt_probe::kThreads}, values);
  simt_probe::block_reductions(sums, tops, in, cuda);
  const auto got_sums = sums.download<float>();
  const auto got_tops = tops.download<float>();
  for (size_t b = 0; b < kBlocks; ++b) {
    const float* x = &values[b * simt_probe::kThreads];
    float total = 0;
    for (int w = 0; w < simt_probe::kThreads / 32; ++w) {
      float lane[32];
      std::copy_n(x + 32 * w, 32, lane);
      for (size_t step = 16; step > 0; step /= 2) {
        float next[32];
        for (size_t l = 0; l < 32; ++l) next[l] = lane[l] + lane[l ^ step];
        std::copy_n(next, 32, lane);
      }
      total += lane[0];
    }
    CHECK(got_sums[b] == total);
    CHECK(got_tops[b] == *std::max_element(x, x + simt_probe::kThreads));
  }
  CHECK((sums.intact() && tops.intact()));
}

TEST_CASE("simt: shuffles and votes") {
  CudaTestContext cuda;
  std::vector<int32_t> v(32);
  for (int i = 0; i < 32; ++i) v[static_cast<size_t>(i)] = i * i % 29;
  const CudaBuffer in(cuda, {32}, v);
  CudaBuffer out(cuda, DType::I32, {9, 32});
  simt_probe::warp_shuffles(out, in, cuda);
  const auto got = out.download<int32_t>();
  uint32_t odd = 0;
  for (size_t l = 0; l < 32; ++l) odd |= static_cast<uint32_t>(v[l] % 2) << l;
  for (size_t l = 0; l < 32; ++l) {
    CHECK(got[l] == v[5]);
    CHECK(got[32 + l] == v[l / 8 * 8 + 2]);
    CHECK(got[64 + l] == v[l ^ 3]);
    // From a later group a lane gets its own value, from an earlier one the other's.
    CHECK(got[96 + l] == ((l & 8) != 0 ? v[l ^ 8] : v[l]));
    CHECK(got[128 + l] == (l >= 3 ? v[l - 3] : v[l]));
    CHECK(got[160 + l] == (l % 16 < 11 ? v[l + 5] : v[l]));
    CHECK(static_cast<uint32_t>(got[192 + l]) == odd);
    CHECK(got[224 + l] == (std::count(v.begin(), v.end(), 7) > 0));
    CHECK(got[256 + l] == 1);
  }
}

TEST_CASE("simt: halves of a warp go different ways") {
  CudaTestContext cuda;
  std::vector<int32_t> v(32);
  std::iota(v.begin(), v.end(), 1);
  const CudaBuffer in(cuda, {32}, v);
  CudaBuffer out(cuda, DType::I32, {2});
  simt_probe::half_warps(out, in, cuda);
  CHECK(out.download<int32_t>() == std::vector<int32_t>{16 * 17 / 2, 32 * 33 / 2 - 16 * 17 / 2});
}

TEST_CASE("simt: atomics of many blocks, with threads that leave early") {
  CudaTestContext cuda;
  std::vector<int32_t> v(1000);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<int32_t>(2 + i * 7919 % 13);
  const CudaBuffer in(cuda, {1000}, v);
  const CudaBuffer counts(cuda, {16}, std::vector<int32_t>(16, 0));
  const CudaBuffer extremes(cuda, {2}, std::vector<int32_t>{-1, 1000});
  simt_probe::histogram(counts, extremes, in, cuda);
  std::vector<int32_t> want(16, 0);
  for (const int32_t x : v) ++want[static_cast<size_t>(x)];
  CHECK(counts.download<int32_t>() == want);
  CHECK(extremes.download<int32_t>() == std::vector<int32_t>{14, 2});
}

TEST_CASE("simt: dynamic shared memory, also above 48 KiB") {
  for (const int64_t n : {1, 255, 1000, 227 * 256}) {
    CudaTestContext cuda;
    std::vector<float> v(static_cast<size_t>(3 * n));
    std::iota(v.begin(), v.end(), 1.0F);
    const CudaBuffer in(cuda, {3, n}, v);
    CudaBuffer out(cuda, DType::F32, {3, n});
    simt_probe::reverse_rows(out, in, cuda);
    for (int64_t r = 0; r < 3; ++r) std::reverse(v.begin() + r * n, v.begin() + (r + 1) * n);
    CHECK(out.download<float>() == v);
    CHECK(out.intact());
  }
}

std::vector<BFloat16> random_row(int64_t count, uint64_t seed, int spread) {
  const Philox random(seed, Stream::Test);
  std::vector<BFloat16> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) {
    const auto sign = static_cast<uint32_t>(random.below(2, 3 * i)) << 15;
    const auto exponent = static_cast<uint32_t>(
        127 - spread +
        static_cast<int>(random.below(2 * static_cast<uint64_t>(spread) + 1, 3 * i + 1)));
    v[i].bits = static_cast<uint16_t>(sign | exponent << 7 | random.below(128, 3 * i + 2));
  }
  return v;
}

TEST_CASE("simt: mma of loaded matrices has the bits of mma_dot") {
  CudaTestContext cuda;
  for (const int64_t width : {16, 64, 128}) {
    for (const int spread : {0, 2, 30}) {
      const auto a = random_row(16 * width, 1, spread);
      const auto b = random_row(8 * width, 2, spread);
      std::vector<BFloat16> b_columns(b.size());
      std::vector<float> want;
      for (int64_t i = 0; i < 16; ++i) {
        for (int64_t j = 0; j < 8; ++j) {
          want.push_back(mma_dot(&a[static_cast<size_t>(i * width)],
                                 &b[static_cast<size_t>(j * width)], static_cast<int>(width)));
          for (int64_t d = 0; d < width; ++d) {
            b_columns[static_cast<size_t>(d * 8 + j)] = b[static_cast<size_t>(j * width + d)];
          }
        }
      }
      const CudaBuffer a_device(cuda, {16, width}, a);
      CudaBuffer out(cuda, DType::F32, {16, 8});
      simt_probe::product(out, a_device, CudaBuffer(cuda, {8, width}, b), cuda);
      CHECK(out.download<float>() == want);
      CudaBuffer again(cuda, DType::F32, {16, 8});
      simt_probe::product_transposed(again, a_device, CudaBuffer(cuda, {width, 8}, b_columns),
                                     cuda);
      CHECK(again.download<float>() == want);
    }
  }
}

TEST_CASE("simt: asynchronous copies") {
  CudaTestContext cuda;
  for (const int64_t n : {4, 124, 128, 132, 1000}) {
    std::vector<float> v(static_cast<size_t>(n));
    std::iota(v.begin(), v.end(), 1.0F);
    const CudaBuffer in(cuda, {n}, v);
    CudaBuffer out(cuda, DType::F32, {n});
    const int64_t valid = n / 8 * 4;
    simt_probe::copy_pipeline(out, in, valid, cuda);
    for (int64_t i = 0; i < n; ++i) {
      v[static_cast<size_t>(i)] = i < valid ? v[static_cast<size_t>(i)] + 1 : 1;
    }
    CHECK(out.download<float>() == v);
    CHECK(out.intact());
  }
}

TEST_CASE("simt: conversions round to even, exponentials drop denormals") {
  CudaTestContext cuda;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> v{0.0F,    -0.0F, 1.0F,   1.00390625F, 1.01171875F, -3.14159F,
                       kInf,    -kInf, 1e-40F, 3.4e38F,     -140.F,      -126.0F,
                       -127.0F, 0.5F,  10.0F,  -20.25F};
  const auto n = static_cast<int64_t>(v.size());
  const CudaBuffer in(cuda, {n}, v);
  CudaBuffer out(cuda, DType::BF16, {n});
  CudaBuffer exponentials(cuda, DType::F32, {n});
  simt_probe::conversions(out, exponentials, in, cuda);
  const auto rounded = out.download<BFloat16>();
  const auto e = exponentials.download<float>();
  for (size_t i = 0; i < v.size(); ++i) {
    CHECK(rounded[i].bits == to_bfloat16(v[i]).bits);
    const double want = v[i] < -126 ? 0 : std::exp2(double{v[i]});
    CHECK((e[i] == want || std::abs(e[i] - want) <= 4e-7 * want || want > 3.5e38));
  }
}

}  // namespace
}  // namespace pivot
