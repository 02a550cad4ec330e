#include "src/eval/results.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"

using namespace pivot;
using namespace pivot::eval;
using nlohmann::json;

namespace {

EvalResult retrieval_result() {
  EvalResult r;
  r.data = "recall";
  r.path = "a/recall.h5";
  r.task = "retrieval";
  r.mode = "decode";
  r.attention = "topk:k=16";
  r.prefill = "dense";
  r.metrics["answer_accuracy"] = {0.975, 0.0125, 160};
  r.interval = wilson(0.975, 160);
  r.kept_mass = {0.5, 1.0};
  r.seconds = 1.25;
  r.against_first = Comparison{"answer_accuracy", {-0.01, 0.02, 160}, 0.5};
  return r;
}

}  // namespace

TEST_CASE("the result file holds every figure under its documented key", "[eval]") {
  ResultFile file;
  file.model_path = "runs/a";
  file.model_attention = "topk:k=16";
  file.options = {{"limit", "10"}};
  file.results = {retrieval_result()};
  EvalResult text;
  text.data = "text";
  text.task = "perplexity";
  text.mode = "train";
  text.attention = "dense";
  text.metrics["loss"] = {2.0, NAN, 100};
  text.buckets = {{0, 1, 10, 2}, {1, 2, 0, 0}};
  file.results.push_back(text);
  const json j = json::parse(to_json(file));
  CHECK(j["schema"] == "pivot.eval.1");
  CHECK(j["pivot"].contains("version"));
  CHECK(j["model"]["attention"] == "topk:k=16");
  CHECK(j["config"]["limit"] == "10");
  const json& r = j["results"][0];
  CHECK(r["attn"] == "topk:k=16");
  CHECK(r["prefill"] == "dense");
  CHECK(r["metrics"]["answer_accuracy"]["value"] == 0.975);
  CHECK(r["metrics"]["answer_accuracy"]["n"] == 160);
  CHECK(r["kept_mass"] == 0.75);
  CHECK(r["kept_mass_layers"].size() == 2);
  CHECK(r["wilson95"][0].get<double>() < 0.975);
  CHECK(r["against_first"]["mcnemar_p"] == 0.5);
  const json& t = j["results"][1];
  CHECK(t["metrics"]["loss"]["stderr"].is_null());
  CHECK(t["kept_mass"].is_null());
  CHECK(t["loss_by_position"][0]["loss"] == 5.0);
  CHECK(t["loss_by_position"][1]["loss"].is_null());
  CHECK_FALSE(t.contains("against_first"));
}

TEST_CASE("the table has one aligned line per result", "[eval]") {
  EvalResult first = retrieval_result();
  first.attention = "dense";
  first.prefill = "dense";
  first.against_first.reset();
  const std::string table = to_table({first, retrieval_result()});
  CHECK_THAT(table, ContainsSubstring("attention"));
  CHECK_THAT(table, ContainsSubstring("topk:k=16"));
  CHECK_THAT(table, ContainsSubstring("0.9750"));
  CHECK_THAT(table, ContainsSubstring("-0.0100 ± 0.0200, p 0.5"));
  std::vector<std::string> lines;
  for (size_t at = 0; at < table.size();) {
    const size_t end = table.find('\n', at);
    lines.push_back(table.substr(at, end - at));
    at = end + 1;
  }
  REQUIRE(lines.size() == 3);
  CHECK(lines[1].find("decode") == lines[0].find("mode"));
  CHECK(lines[1].find("0.9750") == lines[2].find("0.9750"));
}

TEST_CASE("samples are one line of JSON per document", "[eval]") {
  DocumentAnswers d{7, {{3, {5, 6}, {5, 9}, -1.5}, {9, {2}, {2}, -0.25}}};
  const std::string lines = sample_lines(retrieval_result(), {d, d});
  const json j = json::parse(lines.substr(0, lines.find('\n')));
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 2);
  CHECK(j["id"] == 7);
  CHECK(j["answers"][0]["right"] == false);
  CHECK(j["answers"][0]["predicted"] == json({5, 9}));
  CHECK(j["answers"][1]["right"] == true);
  const std::string items = sample_lines(retrieval_result(), std::vector<ItemLoss>{{4, 6.0, 3}});
  CHECK(json::parse(items)["loss"] == 2.0);
}
