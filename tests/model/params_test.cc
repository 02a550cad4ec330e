#include "src/model/params.h"

#include <set>
#include <vector>

#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/support/test_context.h"

namespace pivot {
namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.vocab = 50;
  c.dim = 16;
  c.layers = 2;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_dim = 8;
  c.ffn_dim = 24;
  return c;
}

}  // namespace

TEST_CASE("the list of parameters covers the flat buffer without gaps") {
  for (const bool tied : {true, false}) {
    ModelConfig c = small_config();
    c.tied_embeddings = tied;
    c.qkv_bias = !tied;
    c.qk_norm = tied;
    int64_t offset = 0;
    std::set<std::string> names;
    for (const ParamInfo& p : list_params(c)) {
      CHECK(p.offset == offset);
      offset += p.shape.count();
      CHECK(names.insert(p.name).second);
    }
    CHECK(offset == parameter_count(c));
    CHECK(names.count("head.weight") == (tied ? 0U : 1U));
    CHECK(names.count("layers.1.qkv.bias") == (tied ? 0U : 1U));
    CHECK(names.count("layers.0.q_norm.weight") == (tied ? 1U : 0U));
  }
}

TEST_CASE("views share the flat memory; a tied head is the embedding") {
  const ModelConfig c = small_config();
  std::vector<float> storage(static_cast<size_t>(parameter_count(c)));
  const Params p = bind_params(c, view(storage.data(), {parameter_count(c)}));
  CHECK(p.embed.data == storage.data());
  CHECK(p.head.data == p.embed.data);
  CHECK(p.norm.as<float>() == storage.data() + storage.size() - 16);
}

TEST_CASE("initial weights depend on seed and name, not on threads") {
  const ModelConfig c = small_config();
  const int64_t count = parameter_count(c);
  std::vector<float> a(static_cast<size_t>(count)), b(a.size()), other(a.size());
  test::TestContext one(1 << 20, 1), three(1 << 20, 3);
  init_params(c, view(a.data(), {count}), 7, one);
  init_params(c, view(b.data(), {count}), 7, three);
  init_params(c, view(other.data(), {count}), 8, one);
  CHECK(a == b);
  CHECK(a != other);
  double square = 0;
  const auto list = list_params(c);
  for (int64_t i = 0; i < list[0].shape.count(); ++i) {
    square += static_cast<double>(a[static_cast<size_t>(i)]) * a[static_cast<size_t>(i)];
  }
  // 800 draws: the variance's relative standard error is sqrt(2 / 800) = 5 %; five of them.
  CHECK(square / static_cast<double>(list[0].shape.count()) == Approx(0.0004).epsilon(0.25));
}

TEST_CASE("configurations are checked field by field") {
  const auto broken = [](auto&& change) {
    ModelConfig c = small_config();
    change(c);
    return c;
  };
  CHECK_NOTHROW(validate(small_config()));
  CHECK_THROWS_WITH(validate(broken([](ModelConfig& c) { c.kv_heads = 3; })),
                    ContainsSubstring("kv_heads"));
  CHECK_THROWS_WITH(validate(broken([](ModelConfig& c) { c.head_dim = 12; })),
                    ContainsSubstring("head_dim"));
  CHECK_THROWS_WITH(validate(broken([](ModelConfig& c) { c.vocab = 0; })),
                    ContainsSubstring("vocab"));
  CHECK_THROWS_AS(validate(broken([](ModelConfig& c) { c.rope_scaling.type = "elastic"; })),
                  UserError);
}

}  // namespace pivot
