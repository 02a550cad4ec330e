// The kept sets of Top-k attention equal the definition's, bit for bit, on the kernel's own scores.

#include "kernels/attention/row_selector.h"
#include "tests/kernels/attention_distributions.h"

using namespace pivot;
using namespace pivot::test;

TEST_CASE("kept sets equal the definition on the kernel's scores") {
  const std::vector<AttentionCase> cases = {
      {{300}, 1, 1, 16, "topk:k=7"},
      {{700}, 1, 1, 16, "topk:k=150"},
      {{200, 1, 2, 31, 33, 64}, 2, 1, 24, "topk:5%,min=3"},
      {{230}, 4, 2, 8, "topk:k=11,group=max"},
      {{230}, 3, 1, 16, "topk:k=11,group=sum"},
      {{210}, 2, 1, 16, "topk:k=12,sink=3,recent=5"},
      {{210}, 4, 1, 16, "topk:k=6,sink=4,recent=9,group=max"},
      {{190}, 1, 1, 16, "topk:40%,max=60"},
  };
  for (const Distribution& d : distributions()) {
    for (const AttentionCase& c : cases) {
      INFO(d.name << ", " << c.text());
      const ref::AttentionProblem p = c.problem();
      std::vector<float> qkv = normal_values(qkv_count(p), 41);
      d.apply(p, qkv);
      const std::vector<float> dout(static_cast<size_t>(p.tokens() * p.heads * p.width), 1.0F);
      check_sets(p, qkv, run_attention(p, qkv, dout));
    }
  }
}

TEST_CASE("kept sets of rows long enough for a sampled gate") {
  for (const Distribution& d : distributions()) {
    const AttentionCase c{{2200}, 1, 1, 8, "topk:1%"};
    INFO(d.name << ", " << c.text());
    const ref::AttentionProblem p = c.problem();
    std::vector<float> qkv = normal_values(qkv_count(p), 42);
    d.apply(p, qkv);
    const std::vector<float> dout(static_cast<size_t>(p.tokens() * p.width), 1.0F);
    const AttentionRun run = run_attention(p, qkv, dout);
    // By counting: tau and jcut keep exactly k keys, of which jcut is the last at tau.
    const ref::Scores<float> score = ref::scores_of(p, qkv);
    int64_t wrong = 0;
    for (int64_t t = 0; t < p.tokens(); ++t) {
      int64_t kept = 0;
      bool cut = false;
      for (int64_t j = 0; j <= t; ++j) {
        const float s = score(t, 0, j);
        kept += static_cast<int64_t>(is_kept(s, static_cast<int32_t>(j), run.tau[t], run.jcut[t]));
        cut = cut || (s == run.tau[t] && j == run.jcut[t]);
      }
      const int64_t k = budget_of(p.policy)(t + 1);
      wrong += static_cast<int64_t>(kept != k || (k <= t && !cut));
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a row without weights on dropped keys: out is the mean of the kept values") {
  // Scores tie everywhere, so every kept key weighs 1 / k and the lowest indices are kept.
  const AttentionCase c{{600}, 1, 1, 8, "topk:k=4"};
  const ref::AttentionProblem p = c.problem();
  std::vector<float> qkv(static_cast<size_t>(qkv_count(p)), 1.0F);
  for (int64_t t = 0; t < p.tokens(); ++t) qkv[p.value(t, 0)] = static_cast<float>(t);
  const std::vector<float> dout(static_cast<size_t>(p.tokens() * p.width), 0.0F);
  const AttentionRun run = run_attention(p, qkv, dout);
  for (int64_t t = 3; t < p.tokens(); ++t) CHECK(run.out[t * p.width] == 1.5F);
}

TEST_CASE("the selection is exact for every room and any order of scores") {
  const Philox random(5, Stream::Test);
  uint64_t position = 0;
  for (int repeat = 0; repeat < 300; ++repeat) {
    const auto n = static_cast<int64_t>(1 + random.below(repeat % 3 == 0 ? 5000 : 600, position++));
    const auto k = static_cast<int64_t>(1 + random.below(static_cast<uint64_t>(n), position++));
    const auto kinds = random.below(4, position++);
    std::vector<float> scores(static_cast<size_t>(n) + 128);
    for (float& s : scores) {
      s = kinds == 0   ? random.normal(position++)
          : kinds == 1 ? static_cast<float>(random.below(3, position++)) - 1.0F
          : kinds == 2 ? static_cast<float>(position++)
                       : -random.normal(position++) * 0x1p-130F;
    }
    const int64_t room = attention::selector_room(k, n);
    std::vector<int32_t> ranks(static_cast<size_t>(room));
    std::vector<int32_t> indices(static_cast<size_t>(room));
    attention::RowSelector selector;
    const auto select = [&](float guess) {
      selector.begin({ranks.data(), indices.data(), room}, k, guess);
      for (int64_t i = 0; i < n; i += 100) {
        selector.add(scores.data() + i, std::min<int64_t>(100, n - i), i);
      }
      return selector.complete();
    };
    // A guess may be wrong in either direction, and is then known to be.
    const float open = std::numeric_limits<float>::quiet_NaN();
    const float guesses[] = {attention::sample_gate(scores.data(), n, k), scores[0], 1e30F, -1e30F};
    if (repeat % 5 == 4) {
      selector.begin({ranks.data(), indices.data(), room}, k, open);
      selector.select_row(scores.data(), n);
    } else if (!select(guesses[repeat % 5])) {
      REQUIRE(select(open));
    }
    std::vector<int32_t> order(static_cast<size_t>(n));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return ranks_before(scores[a], a, scores[b], b); });
    const int32_t last = order[static_cast<size_t>(k - 1)];
    order.resize(static_cast<size_t>(k));
    std::sort(order.begin(), order.end());
    REQUIRE(selector.finish() == k);
    bool same = true;
    for (int64_t i = 0; i < k; ++i) {
      same = same && selector.index(i) == order[i] && selector.score(i) == scores[order[i]];
    }
    CHECK(same);
    CHECK(selector.last_score() == scores[last]);
    CHECK(selector.last_index() == last);
  }
}

TEST_CASE("score bits are the fma chain, for any width, row count and lane") {
  for (const int width : {8, 16, 24, 40, 64, 72, 128}) {
    for (const int rows : {1, 2, 3, 5, 8, 13}) {
      const std::vector<float> q = normal_values(rows * width, 51);
      const std::vector<float> k = normal_values(40 * width, 52);
      std::vector<float> tiles(static_cast<size_t>(2 * key_tile_floats(width)));
      pack_key_tile(tiles.data(), k.data(), width, 32, width);
      pack_key_tile(tiles.data() + key_tile_floats(width), k.data() + 32 * width, width, 8, width);
      std::vector<float> scores(static_cast<size_t>(rows) * 64);
      score_rows({.scores = scores.data(),
                  .score_stride = 64,
                  .queries = q.data(),
                  .query_stride = width,
                  .rows = rows,
                  .tiles = tiles.data(),
                  .tile_count = 2,
                  .width = width});
      int wrong = 0;
      for (int r = 0; r < rows; ++r) {
        for (int j = 0; j < 40; ++j) {
          float s = 0;
          for (int d = 0; d < width; ++d) s = std::fma(q[r * width + d], k[j * width + d], s);
          wrong += static_cast<int>(s != scores[r * 64 + j]);
        }
      }
      INFO("width " << width << " rows " << rows);
      CHECK(wrong == 0);
    }
  }
}
