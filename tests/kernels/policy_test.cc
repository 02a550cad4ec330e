#include "kernels/attention/policy.h"

#include "kernels/attention/budget.h"
#include "kernels/attention/order.h"
#include "src/base/check.h"
#include "tests/support/catch.h"

namespace pivot {

TEST_CASE("attention specs round-trip") {
  for (const char* spec :
       {"dense", "topk:1%", "topk:k=64", "topk:2%,min=8,max=4096,sink=4,recent=64,group=max",
        "topk:1/3,group=sum", "topk:k=7,sink=2"}) {
    CHECK(to_string(parse_policy(spec)) == spec);
    CHECK(parse_policy(to_string(parse_policy(spec))) == parse_policy(spec));
  }
}

TEST_CASE("bad specs are refused with the part that is wrong") {
  for (const char* spec :
       {"", "topk", "topk:", "topk:0%", "topk:101%", "topk:k=0", "topk:1%,k=3", "topk:min=3",
        "topk:1%,sinks=4", "topk:1%,min=9,max=3", "sparse:1%", "topk:1%,group=both", "topk:-1%"}) {
    INFO(spec);
    CHECK_THROWS_AS(parse_policy(spec), UserError);
  }
  CHECK_THROWS_WITH(parse_policy("topk:1%,sinks=4"), ContainsSubstring("'sinks=4'"));
}

TEST_CASE("layer rules apply in order and must cover every layer") {
  const auto layers = parse_layer_policies("*:topk:1%;0-1:dense;-1:topk:k=8", 6);
  CHECK(layers[0].dense());
  CHECK(layers[1].dense());
  CHECK(to_string(layers[2]) == "topk:1%");
  CHECK(to_string(layers[5]) == "topk:k=8");
  CHECK(parse_layer_policies(to_string(layers), 6) == layers);
  CHECK(to_string(parse_layer_policies("topk:2%", 3)) == "topk:2%");
  CHECK_THROWS_AS(parse_layer_policies("0:dense", 2), UserError);
  CHECK_THROWS_AS(parse_layer_policies("0-9:dense", 2), UserError);
}

TEST_CASE("budget: integers only, clamped, never above the visible keys") {
  const Budget one_percent{{1, 100}, 0, 16, AttentionPolicy::kNoMax};
  CHECK(one_percent(1) == 1);
  CHECK(one_percent(16) == 16);
  CHECK(one_percent(17) == 16);
  CHECK(one_percent(1600) == 16);
  CHECK(one_percent(1601) == 17);
  const Budget fixed{{0, 1}, 64, 16, 32};
  CHECK(fixed(100) == 64);
  CHECK(fixed(3) == 3);
  const Budget capped{{1, 2}, 0, 1, 10};
  CHECK(capped(100) == 10);
  for (int64_t n = 1; n < 3000; ++n) REQUIRE(one_percent(n) <= one_percent(n + 1));
}

TEST_CASE("ordered bits follow the order of scores") {
  const float values[] = {-INFINITY, -3.5F, -1e-30F, 0.0F, 1e-30F, 2.0F, INFINITY};
  for (size_t i = 1; i < std::size(values); ++i) {
    CHECK(ordered_bits(values[i - 1]) < ordered_bits(values[i]));
  }
  CHECK(ordered_bits(-0.0F) == ordered_bits(0.0F));
  CHECK(ranks_before(1.0F, 5, 1.0F, 6));
  CHECK_FALSE(ranks_before(1.0F, 6, 1.0F, 5));
  CHECK(ranks_before(2.0F, 6, 1.0F, 5));
}

}  // namespace pivot
