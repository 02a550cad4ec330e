/// cast and attention_union on the GPU: the CPU's results, and those of their definitions.

#include <set>

#include "kernels/attention/score_bits.h"
#include "kernels/attention_union/attention_union.h"
#include "kernels/cast/cast.h"
#include "tests/kernels/attention_case.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Any bits at all, after the values whose rounding is special.
std::vector<float> values_to_cast(int64_t count) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0.0F,          -0.0F,
                               inf,           -inf,
                               kNan,          -kNan,
                               0x1p-149F,     -0x1p-133F,
                               1.0F,          0x1.01p0F,
                               0x1.03p0F,     0x1.010002p0F,
                               0x1.00fffep0F, std::numeric_limits<float>::max()};
  const Philox random(3, Stream::Test);
  for (uint64_t i = values.size(); i < static_cast<uint64_t>(count); ++i) {
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random.below(1ULL << 32, i))));
  }
  values.resize(static_cast<size_t>(count));
  return values;
}

void check_cast(int64_t count) {
  INFO(count << " values");
  std::vector<float> values = values_to_cast(count);
  std::vector<BFloat16> want(values.size());
  TestContext cpu;
  cast_cpu({.y = view(want.data(), {count}), .x = view(values.data(), {count})}, cpu);

  CudaTestContext cuda;
  const CudaBuffer x(cuda, {count}, values), y(cuda, DType::BF16, {count});
  run_twin(&cast_cuda, cast, {.y = y, .x = x}, cuda);
  const std::vector<BFloat16> got = y.download<BFloat16>();
  CHECK(y.intact());
  CHECK(x.intact());
  int64_t wrong = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    // The payload of a NaN is the device's own.
    const bool same = std::isnan(values[i])
                          ? std::isnan(to_float(got[i])) && std::isnan(to_float(want[i]))
                          : got[i].bits == want[i].bits;
    wrong += same ? 0 : 1;
  }
  CHECK(wrong == 0);
}

const std::vector<AttentionCase> kUnionCases = {
    {{300}, 4, 2, 16, "topk:k=8"},
    {{37, 290}, 2, 1, 32, "topk:k=12,sink=3,recent=5"},  // begins inside a slot
    {{100, 130, 1, 0, 60}, 2, 1, 16, "topk:5%,min=3"},
    {{127, 128, 129}, 2, 2, 16, "topk:10%,min=1,recent=2"},
    {{130, 260}, 4, 2, 16, "topk:k=1"},
    {{90, 100, 127}, 2, 1, 16, "topk:k=4"},  // no tile at all
    {{130}, 2, 1, 16, "dense"},
};

// Shares by the definition: the different keys of the rows of a tile.
std::vector<float> shares_of(const ref::AttentionProblem& p,
                             const std::vector<ref::KeptRow>& sets) {
  std::vector<float> shares(
      static_cast<size_t>((p.tokens() + kUnionRows - 1) / kUnionRows * p.heads), kNan);
  for (size_t d = 0; d + 1 < p.doc_offsets.size(); ++d) {
    const int64_t begin = p.doc_offsets[d];
    for (int64_t first = begin; first + kUnionRows <= p.doc_offsets[d + 1]; first += kUnionRows) {
      for (int h = 0; h < p.heads; ++h) {
        std::set<int32_t> united;
        for (int64_t t = first; t < first + kUnionRows; ++t) {
          const auto& keys = sets[static_cast<size_t>(t * p.heads + h)].keys;
          united.insert(keys.begin(), keys.end());
        }
        shares[static_cast<size_t>(first / kUnionRows * p.heads + h)] =
            static_cast<float>(united.size()) / static_cast<float>(first + kUnionRows - begin);
      }
    }
  }
  return shares;
}

struct Cuts {
  std::vector<float> tau;
  std::vector<int32_t> jcut;
};
Cuts cuts_of(const std::vector<ref::KeptRow>& sets) {
  Cuts cuts;
  for (const ref::KeptRow& row : sets) {
    cuts.tau.push_back(static_cast<float>(row.tau));
    cuts.jcut.push_back(row.jcut);
  }
  return cuts;
}

Shape rows_shape(const ref::AttentionProblem& p) {
  return {p.tokens(), p.heads};
}
Shape shares_shape(const ref::AttentionProblem& p) {
  return {(p.tokens() + kUnionRows - 1) / kUnionRows, p.heads};
}
Shape qkv_shape(const ref::AttentionProblem& p) {
  return {p.tokens(), p.heads + 2 * p.kv_heads, p.width};
}
Shape offsets_shape(const ref::AttentionProblem& p) {
  return {static_cast<int64_t>(p.doc_offsets.size())};
}

std::vector<float> shares_on_cpu(ref::AttentionProblem p, Cuts cuts, std::vector<float> qkv) {
  std::vector<float> share(static_cast<size_t>(shares_shape(p).count()), 7.0F);
  TestContext cpu;
  attention_union_cpu({.share = view(share.data(), shares_shape(p)),
                       .tau = view(cuts.tau.data(), rows_shape(p)),
                       .jcut = view(cuts.jcut.data(), rows_shape(p)),
                       .qkv = view(qkv.data(), qkv_shape(p)),
                       .doc_offsets = view(p.doc_offsets.data(), offsets_shape(p)),
                       .heads = p.heads,
                       .kv_heads = p.kv_heads,
                       .policy = p.policy},
                      cpu);
  return share;
}

template <class T>
std::vector<float> shares_on_cuda(const ref::AttentionProblem& p, const Cuts& cuts,
                                  const std::vector<T>& qkv) {
  CudaTestContext cuda;
  const std::vector<float> before(static_cast<size_t>(shares_shape(p).count()), 7.0F);
  const CudaBuffer share(cuda, shares_shape(p), before), tau(cuda, rows_shape(p), cuts.tau),
      jcut(cuda, rows_shape(p), cuts.jcut), input(cuda, qkv_shape(p), qkv),
      offsets(cuda, offsets_shape(p), p.doc_offsets);
  run_twin(&attention_union_cuda, attention_union,
           {.share = share,
            .tau = tau,
            .jcut = jcut,
            .qkv = input,
            .doc_offsets = offsets,
            .heads = p.heads,
            .kv_heads = p.kv_heads,
            .policy = p.policy},
           cuda);
  for (const CudaBuffer* buffer : {&share, &tau, &jcut, &input, &offsets}) {
    CHECK(buffer->intact());
  }
  return share.download<float>();
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

void check_union_f32(const AttentionCase& c) {
  INFO(c.text());
  const ref::AttentionProblem p = c.problem();
  const std::vector<float> qkv = normal_values(qkv_count(p), 61);
  const std::vector<ref::KeptRow> sets = ref::select_kept(p, ref::scores_of(p, qkv));
  const std::vector<float> want = shares_of(p, sets);
  // What forward leaves is what the definition has.
  const AttentionRun run = run_attention(p, qkv, normal_values(p.tokens() * p.heads * p.width, 62));
  const Cuts cuts = cuts_of(sets);
  REQUIRE(run.tau == cuts.tau);
  REQUIRE(run.jcut == cuts.jcut);
  CHECK(same(shares_on_cpu(p, cuts, qkv), want));
  CHECK(same(shares_on_cuda(p, cuts, qkv), want));
}

void check_union_bf16(const AttentionCase& c) {
  INFO(c.text());
  const ref::AttentionProblem p = c.problem();
  std::vector<BFloat16> qkv;
  for (const float x : normal_values(qkv_count(p), 63)) qkv.push_back(to_bfloat16(x));
  const ref::Scores<float> score = [&](int64_t t, int h, int64_t j) {
    return mma_dot(qkv.data() + p.query(t, h), qkv.data() + p.key(j, h), static_cast<int>(p.width));
  };
  const std::vector<ref::KeptRow> sets = ref::select_kept(p, score);
  CHECK(same(shares_on_cuda(p, cuts_of(sets), qkv), shares_of(p, sets)));
}

}  // namespace

TEST_CASE("cuda cast rounds as the CPU does", "[sanitize]") {
  for (const int64_t count : {0, 1, 7, 8, 9, 14, 2051, 20000}) check_cast(count);
}

TEST_CASE("attention_union in F32: the definition on CPU and GPU") {
  for (const AttentionCase& c : kUnionCases) check_union_f32(c);
}

TEST_CASE("attention_union in BF16: the definition on the tensor cores' scores") {
  for (const AttentionCase& c : kUnionCases) check_union_bf16(c);
}

TEST_CASE("attention_union: one tile, and no tokens", "[sanitize]") {
  for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{5, 130}, {}}) {
    check_union_f32({lengths, 1, 1, 16, "topk:k=3"});
    check_union_bf16({lengths, 1, 1, 16, "topk:k=3"});
  }
}

TEST_CASE("attention_union tells neighbours that agree from neighbours that do not") {
  AttentionCase c{{256}, 1, 1, 16, "topk:k=4"};
  const ref::AttentionProblem p = c.problem();
  std::vector<float> qkv(static_cast<size_t>(qkv_count(p)), 1.0F);  // ties: the first four keys
  std::vector<ref::KeptRow> sets = ref::select_kept(p, ref::scores_of(p, qkv));
  const std::vector<float> equal = {4.0F / 128, 4.0F / 256};
  CHECK(shares_on_cpu(p, cuts_of(sets), qkv) == equal);
  CHECK(shares_on_cuda(p, cuts_of(sets), qkv) == equal);
  for (int64_t t = 0; t < 256; ++t) {  // scores rise with the key: the last four
    qkv[static_cast<size_t>(p.key(t, 0))] = static_cast<float>(t);
  }
  sets = ref::select_kept(p, ref::scores_of(p, qkv));
  const std::vector<float> apart = {1.0F, 131.0F / 256};
  CHECK(shares_on_cpu(p, cuts_of(sets), qkv) == apart);
  CHECK(shares_on_cuda(p, cuts_of(sets), qkv) == apart);
}

}  // namespace pivot::test
