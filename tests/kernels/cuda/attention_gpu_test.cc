// The CUDA paths of attention against each other and against the definition, at sizes that only a
// GPU gets through; emulated, the same with short sequences.

#include "kernels/attention/cuda/select.h"
#include "tests/kernels/attention_distributions.h"
#include "tests/kernels/cuda/attention_agreement.h"

using namespace pivot;
using namespace pivot::test;

namespace {

// The emulated device has four multiprocessors and is 10^5 times slower.
bool emulated() {
  return cuda::device_info(0).multiprocessors <= 8;
}
template <class T>
T sized(T on_gpu, T emulated_size) {
  return emulated() ? emulated_size : on_gpu;
}

const char* const kPolicies[] = {
    "topk:1%",  "topk:k=64",           "topk:k=40,sink=4,recent=9",  "topk:10%,min=3,max=100",
    "topk:60%", "topk:k=33,group=max", "topk:k=20,sink=2,group=sum", "dense"};

AttentionInputs inputs_of(const AttentionCase& c, uint64_t seed = 91) {
  return {c.problem(), DType::BF16, seed};
}

AttentionRun run_tiled(const AttentionInputs& in, Diagnostics diagnostics = Diagnostics::On) {
  CudaTestContext cuda;
  return run_path(tiled_path(), in, cuda, diagnostics);
}

// Of the rows of a long sequence these many are computed on the CPU.
int64_t samples() {
  return sized<int64_t>(12, 8);
}

void compare_with_naive(const AttentionCase& c, const AttentionInputs& in) {
  INFO(c.text());
  CudaTestContext cuda;
  const AttentionRun tiled = run_path(tiled_path(), in, cuda);
  const AttentionRun naive = run_forward(naive_path(), in, cuda);
  check_same_sets(naive, tiled);
  check_same_values(in, naive, tiled, kTiledPrecision, cuda);
  // Both gradients of the same forward results.
  const AttentionRun mixed = run_path(tiled_path(), in, cuda, Diagnostics::On, naive_path());
  check_same_gradients(in, mixed, tiled);
  check_attention(in, tiled, kTiledPrecision, samples());
}

}  // namespace

TEST_CASE("tiled equals naive: sets bit for bit, values within bounds") {
  struct Size {
    int32_t length;
    int heads;
    int kv_heads;
  };
  const std::vector<Size> sizes =
      sized<std::vector<Size>>({{700, 8, 8}, {700, 8, 2}, {4096, 2, 1}}, {{65, 2, 1}});
  for (const Size& size : sizes) {
    for (const char* policy : kPolicies) {
      for (const int64_t width : sized<std::vector<int64_t>>({64, 128}, {64})) {
        const AttentionCase c{{size.length}, size.heads, size.kv_heads, width, policy};
        compare_with_naive(c, inputs_of(c));
      }
    }
  }
}

TEST_CASE("tiled equals naive at lengths around the tiles', alone and packed") {
  for (const char* policy : {"dense", "topk:k=9", "topk:30%,min=1,recent=2,group=max"}) {
    for (const int32_t length :
         sized<std::vector<int32_t>>({1, 63, 64, 65, 127, 128, 129}, {1, 63, 64})) {
      const AttentionCase c{{length}, 2, 1, 64, policy};
      compare_with_naive(c, inputs_of(c));
    }
    const AttentionCase packed{{1, 0, 64, sized(63, 2), sized(129, 70)}, 2, 1, 128, policy};
    compare_with_naive(packed, inputs_of(packed));
  }
}

TEST_CASE("tiled selects exactly, whatever the scores") {
  std::vector<AttentionCase> cases = {{{sized(1500, 80)}, 1, 1, 64, "topk:k=50"}};
  if (!emulated()) {
    cases.push_back({{900, 1, 70}, 2, 1, 128, "topk:5%,min=3"});
    cases.push_back({{800}, 4, 1, 64, "topk:k=12,sink=4,recent=9,group=max"});
    cases.push_back({{800}, 4, 2, 64, "topk:k=30,group=sum"});
  }
  for (const Distribution& d : distributions()) {
    if (d.tiny && !emulated()) continue;
    for (const AttentionCase& c : cases) {
      INFO(d.name << ", " << c.text());
      const ref::AttentionProblem p = c.problem();
      std::vector<float> qkv = normal_values(qkv_count(p), 93);
      d.apply(p, qkv);
      const AttentionInputs in(p, DType::BF16, qkv,
                               normal_values(p.tokens() * p.heads * p.width, 94));
      CudaTestContext cuda;
      const AttentionRun tiled = run_forward(tiled_path(), in, cuda);
      check_same_sets(run_forward(naive_path(), in, cuda), tiled);
      check_device_sets(in, tiled, samples());
    }
  }
}

TEST_CASE("tiled selects exactly when the rare ways are forced") {
  const AttentionCase c{{sized(2500, 150)}, 2, 1, 64, "topk:k=70"};
  const ref::AttentionProblem p = c.problem();
  for (const auto& [name, apply, tiny] : distributions()) {
    if (tiny || (emulated() && std::string(name) != "integers with many ties")) continue;
    std::vector<float> qkv = normal_values(qkv_count(p), 101);
    apply(p, qkv);
    const AttentionInputs in(p, DType::BF16, qkv,
                             normal_values(p.tokens() * p.heads * p.width, 102));
    CudaTestContext cuda;
    const AttentionRun want = run_forward(naive_path(), in, cuda);
    for (const attention::SelectTuning& tuning :
         {attention::SelectTuning{.sample_step = 0, .bins = 128, .list_capacity = 64},
          attention::SelectTuning{.sample_step = 2, .bins = 2, .list_capacity = 1},
          attention::SelectTuning{.sample_step = 16, .bins = 4, .list_capacity = 64},
          attention::SelectTuning{.sample_step = 64, .bins = 128, .list_capacity = 2}}) {
      INFO(name << ": sample " << tuning.sample_step << " bins " << tuning.bins << " list "
                << tuning.list_capacity);
      const DeviceAttention device(in, cuda, Diagnostics::Off);
      attention::select_sets(device.forward_args(), tuning, cuda);
      check_same_sets(want, device.results());
    }
  }
}

TEST_CASE("two scores only: the lowest indices of the higher one, then of the lower one") {
  for (const int stride : {3, 50}) {
    const AttentionCase c{{sized(3000, 130)}, 1, 1, 64, "topk:k=40"};
    const ref::AttentionProblem p = c.problem();
    std::vector<float> qkv = normal_values(qkv_count(p), 92);
    for (int64_t t = 0; t < p.tokens(); ++t) {
      std::fill_n(qkv.begin() + p.query(t, 0), p.width, 1.0F);
      const auto key = qkv.begin() + p.key(t, 0);
      std::fill(key, key + p.width, t % stride == 0 ? 1.0F : -1.0F);
    }
    const AttentionInputs in(p, DType::BF16, qkv,
                             normal_values(p.tokens() * p.heads * p.width, 95));
    const AttentionRun run = run_tiled(in);
    int64_t wrong = 0;
    for (int64_t t = 40; t < p.tokens(); ++t) {
      const int64_t high = t / stride + 1;  // keys with the higher score
      // The low keys are all but the multiples of `stride`: the n-th of them from 1.
      const int64_t n = 40 - high;
      const int64_t last = n > 0 ? n + (n - 1) / (stride - 1) : 39 * stride;
      wrong += static_cast<int64_t>(run.tau[t] != (n > 0 ? -64.0F : 64.0F) || run.jcut[t] != last);
    }
    CHECK(wrong == 0);
    // (The gradients of keys nearly cancel here, so that their bounds say little.)
  }
}

TEST_CASE("tiled: two runs, statistics or not, k >= n and dense are the same bit for bit") {
  AttentionCase c{{sized(777, 70), 20}, sized(4, 2), sized(2, 1), 64, "dense"};
  const AttentionRun dense = run_tiled(inputs_of(c));
  for (const char* policy : {"dense", "topk:100%", "topk:k=100000", "topk:50%,min=900",
                             "topk:k=900,group=max", "topk:100%,sink=3,recent=2,group=sum"}) {
    INFO(policy);
    c.policy = policy;
    const AttentionInputs in = inputs_of(c);
    const AttentionRun run = run_tiled(in);
    CHECK(run.same(dense));
    CHECK(run.same(run_tiled(in)));
  }
  c.policy = "topk:k=17";
  const AttentionInputs in = inputs_of(c);
  const AttentionRun on = run_tiled(in);
  const AttentionRun off = run_tiled(in, Diagnostics::Off);
  CHECK(on.same(run_tiled(in)));
  CHECK(same_bits(on.out, off.out));
  CHECK(same_bits(on.lse, off.lse));
  CHECK(same_bits(on.dqkv, off.dqkv));
}

TEST_CASE("tiled: packed documents equal separate ones bit for bit") {
  for (const char* policy : {"dense", "topk:4%", "topk:k=30,group=sum"}) {
    INFO(policy);
    const AttentionCase packed{{sized(450, 45), 1, sized(1650, 66), 33, sized(2048, 4)},
                               sized(4, 2),
                               sized(2, 1),
                               64,
                               policy};
    const AttentionInputs in = inputs_of(packed);
    const AttentionRun all = run_tiled(in);
    const ref::AttentionProblem& p = in.problem;
    const int64_t token = (p.heads + 2 * p.kv_heads) * p.width;
    const int64_t query = p.heads * p.width;
    for (size_t i = 0; i + 1 < p.doc_offsets.size(); ++i) {
      const int64_t begin = p.doc_offsets[i];
      const int64_t end = p.doc_offsets[i + 1];
      AttentionCase alone = packed;
      alone.lengths = {packed.lengths[i]};
      const AttentionInputs one(alone.problem(), DType::BF16, rows_of(in.qkv, begin, end, token),
                                rows_of(in.dout, begin, end, query));
      const AttentionRun run = run_tiled(one);
      CHECK(same_bits(run.out, rows_of(all.out, begin, end, query)));
      CHECK(same_bits(run.dqkv, rows_of(all.dqkv, begin, end, token)));
      CHECK(same_bits(run.lse, rows_of(all.lse, begin, end, p.heads)));
      CHECK(same_bits(run.tau, rows_of(all.tau, begin, end, p.heads)));
    }
  }
}

TEST_CASE("tiled: NaN stays in its row and reaches what the row sees", "[sanitize]") {
  for (const char* policy : {"dense", "topk:k=5", "topk:k=5,group=max"}) {
    INFO(policy);
    const AttentionCase c{{sized(150, 75), sized(80, 20)}, 2, 1, 64, policy};
    AttentionInputs in = inputs_of(c);
    const AttentionRun clean = run_tiled(in);
    const ref::AttentionProblem& p = in.problem;
    const int64_t bad = 70;
    in.qkv[p.query(bad, 1)] = std::numeric_limits<float>::quiet_NaN();
    const AttentionRun run = run_tiled(in);
    const bool shared = p.policy.group != SelectionGroup::Head;
    CHECK(run.nan_rows == (shared ? 2 : 1));
    int64_t wrong = 0;
    for (int64_t row = 0; row < in.rows(); ++row) {
      const bool nan = row / 2 == bad && (row % 2 == 1 || shared);
      wrong += static_cast<int64_t>(std::isnan(run.lse[row]) != nan);
      for (int64_t d = row * p.width; d < (row + 1) * p.width; ++d) {
        wrong += static_cast<int64_t>(std::isnan(run.out[d]) != nan ||
                                      (!nan && run.out[d] != clean.out[d]));
      }
    }
    CHECK(wrong == 0);
    CHECK(std::isnan(run.dqkv[p.query(bad, 1)]));
    CHECK(std::isnan(run.dqkv[p.key(0, 0)]));
    CHECK(std::isnan(run.dqkv[p.value(bad, 0)]));
    CHECK(std::isfinite(run.dqkv[p.key(p.doc_offsets[1] + 5, 0)]));
  }
}

TEST_CASE("a long sequence keeps exactly k keys in every row") {
  const AttentionCase c{{sized(70000, 200)}, 1, 1, 64, "topk:1%"};
  const AttentionInputs in = inputs_of(c);
  CudaTestContext cuda;
  const AttentionRun tiled = run_path(tiled_path(), in, cuda);
  check_same_sets(run_forward(naive_path(), in, cuda), tiled);
  check_attention(in, tiled, kTiledPrecision, sized<int64_t>(12, 6));
}

TEST_CASE("cuDNN agrees with the tiled kernel on dense attention") {
  if (!attention::with_cudnn()) return;
  for (const int64_t width : {64, 128}) {
    for (const int kv_heads : {8, 2, 1}) {
      for (const std::vector<int32_t>& lengths :
           {std::vector<int32_t>{1}, {129}, {700}, {500, 450, 512, 1}}) {
        const AttentionCase c{lengths, 8, kv_heads, width, "dense"};
        INFO(c.text());
        const AttentionInputs in = inputs_of(c);
        CudaTestContext cuda;
        const AttentionRun cudnn = run_path(cudnn_path(), in, cuda, Diagnostics::Off);
        const AttentionRun tiled = run_path(tiled_path(), in, cuda);
        check_same_sets(tiled, cudnn);
        check_same_values(in, tiled, cudnn, kCudnnPrecision, cuda);
        check_same_gradients(in, tiled, cudnn);
        check_attention(in, cudnn, kCudnnPrecision, samples());
      }
    }
  }
}

TEST_CASE("F32 on the GPU has the sets, tau and jcut of the CPU") {
  for (const char* policy : kPolicies) {
    const AttentionCase c{{sized(1100, 60), 1, 40}, 4, 2, 64, policy};
    INFO(c.text());
    const AttentionInputs in(c.problem(), DType::F32, 97);
    CudaTestContext cuda;
    const AttentionRun gpu = run_path(dispatched_path(), in, cuda);
    const AttentionRun cpu = run_attention(in.problem, in.qkv, in.dout);
    CHECK(same_bits(gpu.tau, cpu.tau));
    CHECK(gpu.jcut == cpu.jcut);
    check_attention(in, gpu, kNaivePrecision, samples());
  }
}

TEST_CASE("every policy, type and width takes the path that path_of names") {
  using attention::CudaPath;
  struct Want {
    const char* policy;
    DType dtype;
    int64_t width;
    CudaPath path;
  };
  const CudaPath dense = attention::with_cudnn() ? CudaPath::Cudnn : CudaPath::Tiled;
  for (const Want& want : {Want{"topk:k=9", DType::F32, 64, CudaPath::Naive},
                           Want{"dense", DType::F32, 8, CudaPath::Naive},
                           Want{"topk:k=9", DType::BF16, 48, CudaPath::Naive},
                           Want{"topk:k=9", DType::BF16, 64, CudaPath::Tiled},
                           Want{"topk:k=9", DType::BF16, 128, CudaPath::Tiled},
                           Want{"dense", DType::BF16, 128, dense}}) {
    const AttentionCase c{{100}, 2, 1, want.width, want.policy};
    INFO(c.text() << " " << attention::to_string(want.path));
    CHECK(attention::path_of(c.problem().policy, want.dtype, want.width) == want.path);
    const AttentionInputs in(c.problem(), want.dtype, 99);
    CudaTestContext cuda;
    const AttentionRun run = run_path(dispatched_path(), in, cuda);
    const AttentionRun off = run_path(dispatched_path(), in, cuda, Diagnostics::Off);
    CHECK(same_bits(run.out, off.out));
    CHECK(same_bits(run.lse, off.lse));
    CHECK(same_bits(run.dqkv, off.dqkv));
    const AttentionPath path = want.path == CudaPath::Naive   ? naive_path()
                               : want.path == CudaPath::Tiled ? tiled_path()
                                                              : cudnn_path();
    CHECK(same_bits(run.out, run_path(path, in, cuda, Diagnostics::Off).out));
    if (c.problem().policy.dense()) CHECK(same_bits(run.lse, run.lse_visible));
    check_attention(in, run,
                    want.path == CudaPath::Naive   ? kNaivePrecision
                    : want.path == CudaPath::Tiled ? kTiledPrecision
                                                   : kCudnnPrecision,
                    samples());
  }
}
