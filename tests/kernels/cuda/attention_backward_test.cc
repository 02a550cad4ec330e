// The tiled backward pass against row-wise references. What forward leaves (out, lse, tau, jcut) is
// computed here, by sorting the tensor cores' score bits, so that this pass stands alone.

#include "tests/kernels/attention_distributions.h"
#include "tests/kernels/cuda/attention_case_cuda.h"

namespace pivot::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A forward pass as docs/semantics.md defines it, rounded once.
AttentionRun forward_by_definition(const AttentionInputs& in) {
  const ref::AttentionProblem& p = in.problem;
  const AttentionReference reference(in, kNaivePrecision);
  AttentionRun run;
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      const ref::KeptRow kept = reference.select(t, h);
      const AttentionReference::Forward row = reference.forward(t, h, kept.keys);
      const bool nan = kept.nan || !std::isfinite(row.lse.v);
      run.lse.push_back(nan ? kNan : static_cast<float>(row.lse.v));
      run.tau.push_back(nan ? -kInf : static_cast<float>(kept.tau));
      run.jcut.push_back(nan ? static_cast<int32_t>(t) : kept.jcut);
      for (const ref::Enclosed& x : row.out) {
        run.out.push_back(nan ? kNan : to_float(to_bfloat16(static_cast<float>(x.v))));
      }
    }
  }
  return run;
}

CudaBuffer bf16_buffer(Context& ctx, const Shape& shape, const std::vector<float>& values) {
  std::vector<BFloat16> rounded;
  for (const float x : values) rounded.push_back(to_bfloat16(x));
  return CudaBuffer(ctx, shape, rounded);
}

// Fills run.dqkv.
void run_backward(const AttentionInputs& in, AttentionRun& run) {
  CudaTestContext cuda(size_t{1} << 20);
  const ref::AttentionProblem& p = in.problem;
  const CudaBuffer dqkv(cuda, DType::BF16, in.by_token());
  const CudaBuffer qkv = bf16_buffer(cuda, in.by_token(), in.qkv);
  const CudaBuffer dout = bf16_buffer(cuda, in.by_query(), in.dout);
  const CudaBuffer out = bf16_buffer(cuda, in.by_query(), run.out);
  const CudaBuffer lse(cuda, in.by_row(), run.lse);
  const CudaBuffer tau(cuda, in.by_row(), run.tau);
  const CudaBuffer jcut(cuda, in.by_row(), run.jcut);
  const CudaBuffer offsets(cuda, {static_cast<int64_t>(p.doc_offsets.size())}, p.doc_offsets);
  const AttentionBackward args{.dqkv = dqkv,
                               .dout = dout,
                               .out = out,
                               .lse = lse,
                               .tau = tau,
                               .jcut = jcut,
                               .qkv = qkv,
                               .doc_offsets = offsets,
                               .heads = p.heads,
                               .kv_heads = p.kv_heads,
                               .scale = static_cast<float>(p.scale),
                               .max_document = std::max<int64_t>(1, p.tokens()),
                               .policy = p.policy};
  check(args);
  with_exact_scratch(attention::tiled_scratch(args), cuda, [&](Context& exact) {
    attention::tiled_backward(args, exact);
    CHECK(exact.scratch.peak() == attention::tiled_scratch(args));
  });
  run.dqkv = floats_of(dqkv);
  for (const CudaBuffer* input : {&qkv, &dout, &out, &lse, &tau, &jcut, &offsets}) {
    CHECK(input->intact());
  }
}

AttentionRun run_both(const AttentionInputs& in) {
  AttentionRun run = forward_by_definition(in);
  run_backward(in, run);
  return run;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// dqkv within the derived bounds, as check_device_gradients, also where gradients are nearly zero:
// ex2.approx makes weights below 2^-126 zero, which is worth less than kFlushed in any sum here.
void check_gradients(const AttentionInputs& in, const AttentionRun& run) {
  constexpr double kFlushed = 0x1p-110;
  const ref::AttentionProblem& p = in.problem;
  const AttentionReference reference(in, kTiledPrecision);
  double worst = 0;
  std::string message;
  const auto add = [&](const std::string& name, const float* got, std::vector<ref::Enclosed> want) {
    for (ref::Enclosed& w : want) w = {w.v, w.lo - kFlushed, w.hi + kFlushed};
    const Comparison c = compare(name, {p.width}, got, want);
    if (c.worst < worst) return;
    worst = c.worst;
    message = c.message;
  };
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      add("dq" + row_name(t, h), run.dqkv.data() + p.query(t, h),
          reference.query_gradient(run, t, h));
    }
    for (int g = 0; g < p.kv_heads; ++g) {
      const int h = g * p.group();
      const AttentionReference::KeyGradient want = reference.key_gradient(run, t, g);
      add("dk" + row_name(t, g), run.dqkv.data() + p.key(t, h), want.dkey);
      add("dv" + row_name(t, g), run.dqkv.data() + p.value(t, h), want.dvalue);
    }
  }
  INFO(message);
  CHECK(worst <= 1);
}

bool any_nan(const std::vector<float>& values) {
  return std::any_of(values.begin(), values.end(), [](float x) { return std::isnan(x); });
}

TEST_CASE("tiled gradients lie within the bounds of the reference on the same sets") {
  const std::vector<AttentionCase> cases = {
      {{150}, 1, 1, 64, "dense"},
      {{130}, 3, 1, 128, "topk:k=9"},
      {{64, 65, 1, 63}, 4, 1, 64, "topk:10%,min=2"},
      {{129, 2, 70}, 4, 2, 128, "topk:k=20,sink=3,recent=5"},
      {{200}, 2, 2, 64, "topk:k=2"},
      {{140}, 2, 1, 64, "topk:k=12,sink=70,recent=70"},
      {{100, 37}, 4, 1, 64, "topk:k=7,group=max"},
      {{100, 37}, 3, 1, 128, "topk:k=7,group=sum,sink=2,recent=3"},
      {{70}, 2, 2, 128, "topk:k=7,group=sum"},
      {{130}, 4, 1, 128, "dense"},
  };
  for (const AttentionCase& c : cases) {
    INFO(c.text());
    const AttentionInputs in(c.problem(), DType::BF16, 5);
    const AttentionRun run = run_both(in);
    check_device_gradients(in, run, kTiledPrecision);
    CHECK(!any_nan(run.dqkv));
  }
}

TEST_CASE("tiled gradients of documents of every length around a tile", "[sanitize]") {
  AttentionCase c{{}, 3, 1, 64, "topk:k=5"};
  for (const int32_t length : {1, 2, 0, 15, 16, 17, 31, 33, 47, 63, 64, 65}) {
    c.lengths.push_back(length);
  }
  const AttentionInputs in(c.problem(), DType::BF16, 8);
  check_device_gradients(in, run_both(in), kTiledPrecision);
}

TEST_CASE("tiled gradients where sets are hard to tell") {
  for (const char* policy : {"topk:k=6", "topk:k=6,group=max"}) {
    const AttentionCase c{{90, 40}, 2, 1, 64, policy};
    for (const Distribution& d : distributions()) {
      if (d.tiny) continue;
      INFO(d.name << ", " << policy);
      const ref::AttentionProblem p = c.problem();
      std::vector<float> qkv = normal_values(qkv_count(p), 3);
      d.apply(p, qkv);
      const AttentionInputs in(p, DType::BF16, qkv,
                               normal_values(p.tokens() * p.heads * p.width, 4));
      check_gradients(in, run_both(in));
    }
  }
}

TEST_CASE("tiled gradients of rows that keep one key: none but for the value") {
  const AttentionInputs in(AttentionCase{{200}, 2, 2, 64, "topk:k=1"}.problem(), DType::BF16, 6);
  check_gradients(in, run_both(in));
}

TEST_CASE("tiled gradients have the same bits in every run, alone and packed") {
  for (const int64_t width : {64, 128}) {
    const AttentionCase c{{70, 1, 130, 64}, 4, 2, width, "topk:k=11,recent=2"};
    const AttentionInputs in(c.problem(), DType::BF16, 21);
    AttentionRun packed = run_both(in);
    const std::vector<float> first = packed.dqkv;
    run_backward(in, packed);
    CHECK(same_bits(first, packed.dqkv));
    const int64_t token = (c.heads + 2 * c.kv_heads) * width;
    const int64_t query = c.heads * width;
    for (size_t d = 0; d < c.lengths.size(); ++d) {
      AttentionCase alone = c;
      alone.lengths = {c.lengths[d]};
      const int64_t begin = in.problem.doc_offsets[d];
      const int64_t end = in.problem.doc_offsets[d + 1];
      const auto part = [&](const std::vector<float>& values, int64_t size) {
        return std::vector<float>(values.begin() + begin * size, values.begin() + end * size);
      };
      const AttentionInputs own(alone.problem(), DType::BF16, part(in.qkv, token),
                                part(in.dout, query));
      CHECK(same_bits(run_both(own).dqkv, part(packed.dqkv, token)));
    }
  }
}

// A row of `values`, at `offset`, gets `x` in one channel.
void poison(std::vector<float>& values, int64_t offset, float x) {
  values[static_cast<size_t>(offset + 3)] = x;
}

// Gradients as the reference has them, and those of rows `[0, clean)` as without the poison.
void check_poisoned(const AttentionCase& c,
                    const std::function<void(const ref::AttentionProblem&, std::vector<float>& qkv,
                                             std::vector<float>& dout)>& apply,
                    bool reaches = true) {
  INFO(c.text());
  const ref::AttentionProblem p = c.problem();
  std::vector<float> qkv = normal_values(qkv_count(p), 13);
  std::vector<float> dout = normal_values(p.tokens() * p.heads * p.width, 14);
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int h = 0; h < p.heads; ++h) {
      float& x = qkv[static_cast<size_t>(p.query(t, h) + 3)];
      x = std::abs(x) + 0.5F;  // the channel that poison() takes: its scores all have the same sign
    }
  }
  apply(p, qkv, dout);
  const AttentionInputs in(p, DType::BF16, qkv, dout);
  const AttentionRun run = run_both(in);
  check_gradients(in, run);
  CHECK(any_nan(run.dqkv) == reaches);
  // The second document has no part in it.
  for (auto* values : {&qkv, &dout}) {
    for (float& x : *values) x = std::isfinite(x) ? x : 0.25F;
  }
  const AttentionInputs clean(p, DType::BF16, qkv, dout);
  const AttentionRun healthy = run_both(clean);
  const int64_t second = p.query(p.doc_offsets[1], 0);
  CHECK(same_bits({run.dqkv.begin() + second, run.dqkv.end()},
                  {healthy.dqkv.begin() + second, healthy.dqkv.end()}));
  CHECK(!any_nan(healthy.dqkv));
}

TEST_CASE("numbers that are not finite reach the pairs that are kept and no others") {
  for (const AttentionCase& c : {AttentionCase{{100, 30}, 2, 1, 64, "topk:k=6"},
                                 AttentionCase{{100, 30}, 3, 1, 64, "topk:k=6,group=max"},
                                 AttentionCase{{80, 30}, 2, 1, 128, "topk:k=6"}}) {
    const int64_t row = c.lengths[0] - 20;
    SECTION("a query: its row and all keys it sees " + c.text()) {
      check_poisoned(c, [&](const auto& p, auto& qkv, auto&) {
        poison(qkv, p.query(row, c.heads - 1), kNan);
      });
    }
    SECTION("dout: its row and the keys it keeps " + c.text()) {
      for (const float x : {kNan, kInf}) {
        check_poisoned(c, [&](const auto& p, auto&, auto& dout) {
          poison(dout, (row * p.heads + 1) * p.width, x);
        });
      }
    }
    SECTION("a key that later rows see but do not keep " + c.text()) {
      check_poisoned(
          c, [&](const auto& p, auto& qkv, auto&) { poison(qkv, p.key(9, 0), -kInf); }, false);
      // Rows that keep all their keys keep this one too: their gradient is NaN.
      check_poisoned(c, [&](const auto& p, auto& qkv, auto&) { poison(qkv, p.key(3, 0), -kInf); });
    }
    SECTION("a key: the rows that see it " + c.text()) {
      check_poisoned(c, [&](const auto& p, auto& qkv, auto&) { poison(qkv, p.key(row, 0), kNan); });
      check_poisoned(c, [&](const auto& p, auto& qkv, auto&) { poison(qkv, p.key(row, 0), kInf); });
    }
    SECTION("a value: the rows that keep it " + c.text()) {
      for (const float x : {kNan, -kInf}) {
        check_poisoned(c, [&](const auto& p, auto& qkv, auto&) { poison(qkv, p.value(9, 0), x); });
      }
    }
  }
}

TEST_CASE("an empty batch has no gradients") {
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{}, std::vector<int32_t>{0}, std::vector<int32_t>{0, 0}}) {
    const AttentionCase c{lengths, 2, 1, 64, "topk:k=6"};
    const AttentionInputs in(c.problem(), DType::BF16, 1);
    CHECK(run_both(in).dqkv.empty());
  }
}

}  // namespace
}  // namespace pivot::test
