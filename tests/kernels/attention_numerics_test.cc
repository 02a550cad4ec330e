// Values of attention against the fp64 reference, and the reference against finite differences.

#include "tests/kernels/attention_case.h"
#include "tests/support/gradcheck.h"

using namespace pivot;
using namespace pivot::test;

namespace {

const std::vector<AttentionCase> kCases = {
    {{40}, 2, 1, 16, "dense"},
    {{70, 1, 33}, 2, 2, 24, "dense"},
    {{150}, 1, 1, 64, "dense"},
    {{90, 45}, 4, 2, 40, "topk:k=7"},
    {{180}, 1, 1, 64, "topk:5%,min=4"},
    {{140}, 6, 2, 8, "topk:60%"},
    {{100, 61}, 4, 1, 32, "topk:k=9,group=max"},
    {{100}, 3, 1, 32, "topk:k=9,group=sum,sink=2"},
    {{130}, 2, 1, 48, "topk:k=12,sink=3,recent=4"},
    {{560}, 1, 1, 8, "topk:k=20"},
};

}  // namespace

TEST_CASE("attention lies within the derived bounds of the fp64 reference") {
  for (const AttentionCase& c : kCases) {
    INFO(c.text());
    const ref::AttentionProblem p = c.problem();
    const std::vector<float> qkv = normal_values(qkv_count(p), 11);
    const std::vector<float> dout = normal_values(p.tokens() * p.heads * p.width, 12);
    const AttentionRun run = run_attention(p, qkv, dout);
    check_sets(p, qkv, run);
    check_numerics(p, qkv, dout, run);
    CHECK(run.nan_rows == 0);
  }
}

TEST_CASE("the reference's gradient agrees with finite differences, the sets held fixed") {
  for (const char* policy :
       {"dense", "topk:k=3", "topk:k=4,group=sum,sink=1", "topk:k=2,recent=1"}) {
    INFO(policy);
    const AttentionCase c{{9, 5}, 4, 2, 8, policy};
    const ref::AttentionProblem p = c.problem();
    const std::vector<float> values = normal_values(qkv_count(p), 21);
    const std::vector<float> weights = normal_values(p.tokens() * p.heads * p.width, 22);
    const std::vector<double> qkv(values.begin(), values.end());
    const std::vector<double> dout(weights.begin(), weights.end());
    const auto sets = ref::select_kept<double>(p, ref::scores_of(p, qkv));
    const auto loss = [&](const std::vector<double>& x) {
      const auto r = ref::attention_reference<double>(p, sets, ref::scores_of(p, x), x);
      double total = 0;
      for (size_t i = 0; i < dout.size(); ++i) total += dout[i] * r.out[i];
      return total;
    };
    const auto gradient =
        ref::attention_gradient<double>(p, sets, ref::scores_of(p, qkv), qkv, dout);
    const GradientCheck check = check_gradient("qkv", qkv, gradient, loss, 200);
    INFO(check.message);
    CHECK(check.ok);
  }
}
