// The naive path of attention against the definition, in both types; F32 against the CPU's bits.

#include "tests/kernels/attention_distributions.h"
#include "tests/kernels/cuda/attention_case_cuda.h"

using namespace pivot;
using namespace pivot::test;

namespace {

const std::vector<AttentionCase> kCases = {
    {{40}, 2, 1, 16, "dense"},
    {{33, 1, 20}, 2, 2, 48, "dense"},
    {{300}, 1, 1, 64, "topk:k=20"},
    {{50, 25}, 4, 2, 32, "topk:k=7"},
    {{70}, 6, 2, 16, "topk:60%"},
    {{60, 31}, 4, 1, 32, "topk:k=9,group=max"},
    {{60}, 3, 1, 64, "topk:k=9,group=sum,sink=2"},
    {{65}, 2, 1, 80, "topk:k=12,sink=3,recent=4"},
    {{64}, 1, 1, 272, "topk:10%,min=3"},  // wider than a block
};

AttentionInputs inputs_of(const AttentionCase& c, DType dtype, uint64_t seed = 71) {
  return {c.problem(), dtype, seed};
}

AttentionRun run_naive(const AttentionInputs& in, Diagnostics diagnostics = Diagnostics::On) {
  CudaTestContext cuda;
  return run_path(naive_path(), in, cuda, diagnostics);
}

bool equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> part(const std::vector<float>& all, int64_t begin, int64_t end, int64_t stride) {
  return {all.begin() + begin * stride, all.begin() + end * stride};
}

}  // namespace

TEST_CASE("naive attention equals the definition, values within derived bounds") {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const AttentionCase& c : kCases) {
      INFO(dtype_name(dtype) << " " << c.text());
      const AttentionInputs in = inputs_of(c, dtype);
      const AttentionRun run = run_naive(in);
      check_attention(in, run, kNaivePrecision);
      CHECK(run.nan_rows == 0);
    }
  }
}

TEST_CASE("naive attention in F32 has the CPU's sets, tau and jcut") {
  for (const AttentionCase& c : kCases) {
    INFO(c.text());
    const AttentionInputs in = inputs_of(c, DType::F32, 73);
    const AttentionRun gpu = run_naive(in);
    const AttentionRun cpu = run_attention(in.problem, in.qkv, in.dout);
    CHECK(equal(gpu.tau, cpu.tau));
    CHECK(gpu.jcut == cpu.jcut);
  }
}

TEST_CASE("naive attention selects exactly, whatever the scores") {
  const std::vector<AttentionCase> cases = {
      {{47}, 2, 1, 16, "topk:k=11"},
      {{20, 2, 30}, 1, 1, 16, "topk:20%,min=3"},
      {{40}, 4, 2, 16, "topk:k=6,sink=4,recent=5,group=max"},
      {{40}, 3, 1, 16, "topk:k=8,group=sum"},
  };
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const Distribution& d : distributions()) {
      for (const AttentionCase& c : cases) {
        INFO(dtype_name(dtype) << " " << d.name << ", " << c.text());
        const ref::AttentionProblem p = c.problem();
        std::vector<float> qkv = normal_values(qkv_count(p), 75);
        d.apply(p, qkv);
        const AttentionInputs in(p, dtype, qkv, normal_values(p.tokens() * p.heads * p.width, 76));
        CudaTestContext cuda;
        check_device_sets(in, run_forward(naive_path(), in, cuda));
      }
    }
  }
}

TEST_CASE("naive attention takes the scratch it declares, and no more") {
  for (const AttentionCase& c : kCases) {
    const AttentionInputs in = inputs_of(c, DType::BF16);
    CudaTestContext cuda;
    const DeviceAttention device(in, cuda, Diagnostics::On);
    attention::naive_forward(device.forward_args(), cuda);
    CHECK(cuda.ctx.scratch.peak() == attention::naive_scratch(device.forward_args()));
    CudaTestContext other;
    attention::naive_backward(device.backward_args(), other);
    CHECK(other.ctx.scratch.peak() == attention::naive_scratch(device.backward_args()));
  }
}

TEST_CASE("naive: k >= n equals dense, two runs are equal, statistics change nothing",
          "[sanitize]") {
  AttentionCase c{{37, 20}, 4, 2, 16, "dense"};
  const AttentionRun dense = run_naive(inputs_of(c, DType::BF16));
  CHECK(equal(dense.lse, dense.lse_visible));
  for (const char* policy : {"topk:100%", "topk:k=100000", "topk:50%,min=900",
                             "topk:k=900,group=max", "topk:100%,sink=3,recent=2,group=sum"}) {
    INFO(policy);
    c.policy = policy;
    const AttentionInputs in = inputs_of(c, DType::BF16);
    const AttentionRun run = run_naive(in);
    CHECK(run.same(dense));
    CHECK(run.same(run_naive(in)));
    const AttentionRun off = run_naive(in, Diagnostics::Off);
    CHECK(equal(off.out, run.out));
    CHECK(equal(off.dqkv, run.dqkv));
  }
}

TEST_CASE("naive: packed documents equal separate ones bit for bit, empty ones give nothing") {
  for (const char* policy : {"dense", "topk:k=9,recent=3", "topk:k=12,group=sum"}) {
    INFO(policy);
    const AttentionCase packed{{0, 45, 1, 0, 0, 33, 20, 0}, 4, 2, 32, policy};
    const AttentionInputs in = inputs_of(packed, DType::BF16);
    const AttentionRun all = run_naive(in);
    const ref::AttentionProblem& p = in.problem;
    const int64_t stride = (p.heads + 2 * p.kv_heads) * p.width;
    for (size_t i = 0; i + 1 < p.doc_offsets.size(); ++i) {
      const int64_t begin = p.doc_offsets[i];
      const int64_t end = p.doc_offsets[i + 1];
      AttentionCase alone = packed;
      alone.lengths = {packed.lengths[i]};
      const AttentionInputs one(alone.problem(), DType::BF16, part(in.qkv, begin, end, stride),
                                part(in.dout, begin, end, p.heads * p.width));
      const AttentionRun run = run_naive(one);
      CHECK(equal(run.out, part(all.out, begin, end, p.heads * p.width)));
      CHECK(equal(run.dqkv, part(all.dqkv, begin, end, stride)));
      CHECK(equal(run.lse, part(all.lse, begin, end, p.heads)));
      CHECK(equal(run.tau, part(all.tau, begin, end, p.heads)));
    }
  }
}

TEST_CASE("naive: a NaN score makes its row NaN, is counted, and touches no other row") {
  for (const char* policy : {"dense", "topk:k=5", "topk:k=5,sink=2", "topk:k=5,group=max"}) {
    INFO(policy);
    const AttentionCase c{{50, 30}, 2, 1, 16, policy};
    AttentionInputs in = inputs_of(c, DType::BF16);
    const AttentionRun clean = run_naive(in);
    const ref::AttentionProblem& p = in.problem;
    const int64_t bad = 40;
    in.qkv[p.query(bad, 1)] = std::numeric_limits<float>::quiet_NaN();
    const AttentionRun run = run_naive(in);
    const bool shared = p.policy.group != SelectionGroup::Head;
    CHECK(run.nan_rows == (shared ? 2 : 1));
    for (int64_t t = 0; t < p.tokens(); ++t) {
      for (int h = 0; h < 2; ++h) {
        const int64_t row = t * 2 + h;
        const bool nan = t == bad && (h == 1 || shared);
        CHECK(std::isnan(run.lse[row]) == nan);
        CHECK(std::isnan(run.out[row * p.width]) == nan);
        if (!nan) CHECK(run.out[row * p.width] == clean.out[row * p.width]);
      }
    }
    CHECK(std::isnan(run.dqkv[p.query(bad, 1)]));
    CHECK(std::isnan(run.dqkv[p.key(0, 0)]));
    CHECK(std::isnan(run.dqkv[p.value(bad, 0)]));
    CHECK(std::isfinite(run.dqkv[p.key(60, 0)]));
  }
}

TEST_CASE("naive: +inf kept makes the row NaN, -inf weighs nothing") {
  for (const char* policy : {"dense", "topk:k=3"}) {
    INFO(policy);
    AttentionInputs in = inputs_of({{40}, 1, 1, 16, policy}, DType::BF16);
    const ref::AttentionProblem& p = in.problem;
    const auto rounded = [](float x) { return to_float(to_bfloat16(x)); };
    for (int64_t t = 0; t < 40; ++t) {
      in.qkv[p.query(t, 0)] = rounded(1e30F);
      in.qkv[p.key(t, 0)] = rounded(t == 10 ? -1e30F : t == 30 ? 1e30F : 1e-30F);
    }
    const AttentionRun run = run_naive(in);
    for (int64_t t = 0; t < 40; ++t) CHECK(std::isnan(run.out[t * p.width]) == (t >= 30));
    CHECK(run.nan_rows == 10);
    check_device_values(in, run, kNaivePrecision);
  }
}

TEST_CASE("naive: no tokens") {
  const AttentionRun none = run_naive(inputs_of({{}, 2, 1, 16, "topk:k=2"}, DType::BF16));
  CHECK(none.out.empty());
  CHECK(none.nan_rows == 0);
}
