// The command `pivot gradients`: what the file holds, and batches that cannot be used.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "checkpoints/safetensors.h"
#include "src/base/check.h"
#include "src/cli/commands.h"
#include "tests/checkpoints/tiny_checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {
namespace {

// A model of ordinary weights and one batch of two documents; tokens 40 and above do not occur.
struct Case {
  test::TempDir dir;
  std::string model, batch = dir.path() + "/batch.safetensors",
                     out = dir.path() + "/out.safetensors";
  std::vector<int32_t> ids, targets, offsets = {0, 7, 20};

  Case() {
    test::TinyCheckpoint checkpoint(1);
    for (size_t i = 0; i < checkpoint.weights.size(); ++i) {
      checkpoint.weights[i] = 0.3F * std::sin(static_cast<float>(i));
    }
    model = checkpoint.save(dir.path());
    for (int32_t i = 0; i < 20; ++i) {
      ids.push_back(i * 7 % 40);
      targets.push_back(i % 3 == 0 ? -1 : i);
    }
  }

  void run() {
    const auto vec = [](std::vector<int32_t>& v) {
      return view(v.data(), {static_cast<int64_t>(v.size())});
    };
    write_safetensors(
        batch, {{"ids", vec(ids)}, {"targets", vec(targets)}, {"doc_offsets", vec(offsets)}}, {});
    run_gradients({"--model", model, "--batch", batch, "--out", out, "--attn", "topk:k=13",
                   "--device", "cpu", "--threads", "1"});
  }

  std::vector<float> read(const std::string& name) const {
    const SafetensorsFile file(out);
    const SafetensorsFile::Entry& entry = file.entries().at(name);
    REQUIRE(entry.dtype == "F32");
    std::vector<float> values(entry.bytes.size() / sizeof(float));
    std::memcpy(values.data(), entry.bytes.data(), entry.bytes.size());
    return values;
  }
};

}  // namespace

TEST_CASE("every parameter has its gradient, by its name") {
  Case c;
  c.run();
  const SafetensorsFile file(c.out);
  const ModelConfig config = test::tiny_config();
  CHECK(file.entries().size() == list_params(config).size() + 1);
  for (const ParamInfo& p : list_params(config)) {
    INFO(p.name);
    CHECK(c.read(p.name).size() == static_cast<size_t>(p.shape.count()));
  }
  CHECK(file.metadata().at("attention") == "topk:k=13");
  CHECK(file.metadata().at("targets") == "13");
}

TEST_CASE("what must vanish in the gradients vanishes, and nothing else") {
  Case c;
  c.run();
  const std::vector<float> loss = c.read("loss");
  for (size_t i = 0; i < loss.size(); ++i) CHECK((loss[i] > 0) == (c.targets[i] >= 0));
  const ModelConfig config = test::tiny_config();
  const auto dim = static_cast<size_t>(config.dim), vocab = static_cast<size_t>(config.vocab);
  const std::vector<float> embed = c.read("embed.weight"), head = c.read("head.weight");
  // softmax - onehot sums to 0 over the vocabulary: to rounding of the sum of 48 terms.
  for (size_t j = 0; j < dim; ++j) {
    double sum = 0, size = 0;
    for (size_t v = 0; v < vocab; ++v) {
      sum += head[v * dim + j];
      size += std::abs(head[v * dim + j]);
    }
    CHECK(size > 0);
    CHECK(std::abs(sum) <= 48 * 6e-8 * size);
  }
  for (size_t v = 0; v < vocab; ++v) {
    double size = 0;
    for (size_t j = 0; j < dim; ++j) size += std::abs(embed[v * dim + j]);
    INFO("token " << v);
    // k = 13 keeps all: every token is seen by a row that is learnt, but the last of the first
    // document, which no row of the second may see.
    const auto at = std::find(c.ids.begin(), c.ids.end(), v);
    CHECK((size > 0) == (at != c.ids.end() && at != c.ids.begin() + 6));
  }
}

TEST_CASE("recomputation does not change a gradient") {
  Case c;
  c.run();
  const std::vector<float> qkv = c.read("layers.0.qkv.weight");
  run_gradients({"--model", c.model, "--batch", c.batch, "--out", c.out, "--attn", "topk:k=13",
                 "--device", "cpu", "--recompute", "full"});
  CHECK(c.read("layers.0.qkv.weight") == qkv);
}

TEST_CASE("a batch that cannot be used is refused by place") {
  Case c;
  SECTION("token outside the vocabulary") {
    c.ids[3] = 48;
    CHECK_THROWS_WITH(c.run(), ContainsSubstring("ids[3] is 48"));
  }
  SECTION("target below -1") {
    c.targets[4] = -100;
    CHECK_THROWS_WITH(c.run(), ContainsSubstring("targets[4] is -100"));
  }
  SECTION("fewer targets than ids") {
    c.targets.pop_back();
    CHECK_THROWS_WITH(c.run(), ContainsSubstring("19 targets for 20 ids"));
  }
  SECTION("offsets that do not end at the last token") {
    c.offsets.back() = 19;
    CHECK_THROWS_WITH(c.run(), ContainsSubstring("doc_offsets must ascend from 0 to 20"));
  }
  SECTION("nothing to learn") {
    std::fill(c.targets.begin(), c.targets.end(), -1);
    CHECK_THROWS_WITH(c.run(), ContainsSubstring("every target is -1"));
  }
}

}  // namespace pivot
