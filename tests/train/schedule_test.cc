#include "train/schedule.h"

#include <cmath>

#include "kernels/attention/attention.h"
#include "src/base/check.h"
#include "tests/support/catch.h"

namespace pivot {
namespace {

TEST_CASE("extents: steps, shares and times") {
  CHECK(parse_extent("200", "k").value == 200);
  CHECK(parse_extent("2K", "k").value == 2048);
  CHECK(parse_extent("200", "k").unit == Extent::Unit::Steps);
  CHECK(parse_extent("5%", "k").value == 0.05);
  CHECK(parse_extent("5%", "k").unit == Extent::Unit::Share);
  CHECK(parse_extent("10m", "k").value == 600);
  CHECK(parse_extent("10m", "k").unit == Extent::Unit::Seconds);
  CHECK(parse_extent("10M", "k").unit == Extent::Unit::Steps);
  CHECK(parse_extent("0", "k").off());
  CHECK(parse_extent("0%", "k").off());
  for (const char* bad : {"", "x", "-3", "101%", "-1%", "%", "1.5", "3q"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_extent(bad, "a.key"), UserError);
    CHECK_THROWS_WITH(parse_extent(bad, "a.key"), ContainsSubstring("a.key"));
  }
}

TEST_CASE("progress is the further of steps and time, and extents are shares of it") {
  const RunLimits both{1000, 60};
  CHECK(position_at(100, 3, both).progress == 0.1);
  CHECK(position_at(100, 30, both).progress == 0.5);
  CHECK(position_at(2000, 3, both).progress == 1);
  CHECK(position_at(5, 15, {0, 60}).progress == 0.25);
  CHECK(share_of_run(parse_extent("200", "k"), both, "k") == 0.2);
  CHECK(share_of_run(parse_extent("30s", "k"), both, "k") == 0.5);
  CHECK(share_of_run(parse_extent("5000", "k"), both, "k") == 1);
  CHECK_THROWS_AS(share_of_run(parse_extent("30s", "k"), {1000, 0}, "k"), UserError);
  CHECK_THROWS_AS(share_of_run(parse_extent("30", "k"), {0, 60}, "k"), UserError);
}

TEST_CASE("something due every 10% of 30 steps happens ten times, at the right steps") {
  const RunLimits limits{30, 0};
  std::vector<int64_t> at;
  for (int64_t step = 1; step <= 30; ++step) {
    if (due(parse_extent("10%", "k"), position_at(step - 1, 0, limits),
            position_at(step, 0, limits))) {
      at.push_back(step);
    }
  }
  CHECK(at == std::vector<int64_t>{3, 6, 9, 12, 15, 18, 21, 24, 27, 30});
  CHECK(due(parse_extent("10s", "k"), {1, 19, 0}, {2, 21, 0}));
  CHECK_FALSE(due(parse_extent("10s", "k"), {1, 21, 0}, {2, 29, 0}));
  CHECK_FALSE(due(parse_extent("0", "k"), {1, 21, 0}, {2, 29, 0}));
}

double lr_at(const ScheduleOptions& o, int64_t step) {
  const RunLimits limits{1000, 0};
  return LearningRate(o, 2.0, limits).at(position_at(step, 0, limits));
}

TEST_CASE("learning rate: warm-up, then each shape ends at its minimum") {
  ScheduleOptions o;
  o.warmup = "100";
  o.min_lr_ratio = 0.1;
  for (const char* type : {"cosine", "linear", "wsd", "constant"}) {
    CAPTURE(type);
    o.type = type;
    CHECK(lr_at(o, 0) == Approx(2.0 / 100));
    CHECK(lr_at(o, 49) == Approx(1.0));
    CHECK(lr_at(o, 99) == Approx(2.0));
    CHECK(lr_at(o, 100) == Approx(2.0));
  }
  o.type = "cosine";
  CHECK(lr_at(o, 550) == Approx(2.0 * 0.55));
  CHECK(lr_at(o, 999) == Approx(0.2).epsilon(1e-4));
  CHECK(lr_at(o, 325) == Approx(2 * (0.1 + 0.9 * 0.5 * (1 + std::cos(0.25 * M_PI)))));
  o.type = "linear";
  CHECK(lr_at(o, 550) == Approx(2.0 * 0.55));
  CHECK(lr_at(o, 325) == Approx(2.0 * 0.775));
  o.type = "wsd";
  o.decay = "20%";
  CHECK(lr_at(o, 800) == Approx(2.0));
  CHECK(lr_at(o, 900) == Approx(2.0 * 0.55));
  o.type = "constant";
  CHECK(lr_at(o, 999) == Approx(2.0));
}

TEST_CASE("learning rate: a run that ends by time has finished its schedule") {
  ScheduleOptions o;
  o.warmup = "10%";
  const RunLimits limits{1000000, 100};
  const LearningRate rate(o, 1.0, limits);
  CHECK(rate.at(position_at(7, 5, limits)) == Approx(0.5).epsilon(1e-4));
  CHECK(rate.at(position_at(20, 10, limits)) == Approx(1.0));
  CHECK(rate.at(position_at(300, 100, limits)) == Approx(0.1));
}

TEST_CASE("learning rate: bad options name their key") {
  ScheduleOptions o;
  o.type = "cosin";
  CHECK_THROWS_WITH(lr_at(o, 0), ContainsSubstring("schedule.type"));
  o = {};
  o.warmup = "soon";
  CHECK_THROWS_WITH(lr_at(o, 0), ContainsSubstring("schedule.warmup"));
  o = {};
  o.min_lr_ratio = 1.5;
  CHECK_THROWS_WITH(lr_at(o, 0), ContainsSubstring("schedule.min_lr_ratio"));
}

std::string attention_at(const AttentionSchedule& s, int64_t step) {
  return s.stages()[s.stage_at(position_at(step, 0, {1000, 0}))].spec;
}

TEST_CASE("attention: dense first, then the spec, from exactly the step that was asked for") {
  AttentionOptions o;
  o.spec = "topk:1%";
  for (const char* first : {"100", "10%"}) {
    o.dense_first = first;
    const AttentionSchedule s(o, 4, 1024, {1000, 0});
    CHECK(s.stages().size() == 2);
    CHECK(attention_at(s, 0) == "dense");
    CHECK(attention_at(s, 99) == "dense");
    CHECK(attention_at(s, 100) == "topk:1%");
    CHECK(attention_at(s, 999) == "topk:1%");
    CHECK(s.describe() == "dense, from 10% of the run topk:1%");
  }
  o.dense_first = "0";
  CHECK(AttentionSchedule(o, 4, 1024, {1000, 0}).stages().size() == 1);
  o.spec = "dense";
  o.dense_first = "10%";
  CHECK(AttentionSchedule(o, 4, 1024, {1000, 0}).stages().size() == 1);
}

TEST_CASE("attention: the ratio anneals from everything to the spec, layers keep their own") {
  AttentionOptions o;
  o.spec = "*:topk:k=32,sink=2;0:dense";
  o.dense_first = "10%";
  o.anneal = "50%";
  const AttentionSchedule s(o, 3, 1024, {1000, 0});
  CHECK(s.stages().size() == 2 + AttentionSchedule::kAnnealStages);
  int64_t last = 1024;
  for (const auto& stage : s.stages()) {
    CHECK(stage.layers[0].dense());
    if (stage.layers[1].dense()) continue;
    const int64_t k = budget_of(stage.layers[1])(1024);
    CHECK(k <= last);
    CHECK(k >= 32);
    CHECK(stage.layers[1].sink == 2);
    CHECK(to_string(parse_layer_policies(stage.spec, 3)) == stage.spec);
    last = k;
  }
  const auto& half = s.stages()[1 + AttentionSchedule::kAnnealStages / 2];
  CHECK(half.begin == Approx(0.35));
  CHECK(budget_of(half.layers[2])(1024) == Approx(181).margin(1));  // sqrt(32 * 1024)
  CHECK(budget_of(s.stages()[1].layers[1])(1024) == 1024);
  CHECK(attention_at(s, 600) == to_string(parse_layer_policies(o.spec, 3)));
}

TEST_CASE("attention: a schedule longer than the run is refused") {
  AttentionOptions o;
  o.dense_first = "60%";
  o.anneal = "50%";
  CHECK_THROWS_WITH(AttentionSchedule(o, 2, 128, {100, 0}), ContainsSubstring("longer than"));
  o.anneal = "x";
  CHECK_THROWS_WITH(AttentionSchedule(o, 2, 128, {100, 0}), ContainsSubstring("attention.anneal"));
}

}  // namespace
}  // namespace pivot
