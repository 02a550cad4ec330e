#include "src/report/report.h"

#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;
using namespace pivot::report;

namespace {

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

constexpr char kMetrics[] =
    R"({"kind":"schema","version":1}
{"kind":"run","step":0,"device":"cpu","threads":2,"cpu":"a <b> cpu","memory":{"weights":100}}
{"kind":"step","step":1,"loss":6.0,"lr":0.001,"grad_norm":2.5,"tokens":8192,"tokens_per_second":1000,"elapsed":8}
{"step":2,"loss":5.0,"lr":0.002,"grad_norm":null,"tokens":16384,"tokens_per_second":1200,"elapsed":15}
{"kind":"diagnostics","step":2,"kept_mass":0.9,"layers":[{"policy":"dense","k":7.5,"kept_mass":[1,1],"entropy":[2,2.5]},{"policy":"topk:k=4","k":4,"kept_mass":[0.5,null],"entropy":[1,1.25]}]}
{"kind":"validation","step":2,"loss":5.5,"bits_per_byte":2.25,"tokens":4096}
{"kind":"skip","step":3,"reason":"<spike>","loss":99}
{"kind":"step","step":3,"loss":9.0}
{"kind":"step","step":3,"loss":4.0}
)";

}  // namespace

TEST_CASE("metrics are read by kind, broken lines counted", "[report]") {
  const test::TempDir dir;
  const std::string run_path = dir / "my-run";
  write(run_path + "/metrics.jsonl",
        std::string(kMetrics) + "not json\n[1,2]\n\n{\"kind\":\"step\",\"step\":4,\"lo");
  const RunData run = read_run(run_path + "/");
  CHECK(run.name == "my-run");
  CHECK(run.step.at("loss").x == std::vector<double>{1, 2, 3});
  CHECK(run.step.at("loss").y == std::vector<double>{6, 5, 4});  // the later record of step 3 holds
  CHECK(run.step.at("grad_norm").x == std::vector<double>{1});
  CHECK(run.validation.at("bits_per_byte").y == std::vector<double>{2.25});
  REQUIRE(run.attention.count(2) == 1);
  const auto& layers = run.attention.at(2);
  REQUIRE(layers.size() == 2);
  CHECK(layers[1].policy == "topk:k=4");
  CHECK(layers[1].kept_mass.size() == 2);
  CHECK(run.notes.size() == 1);
  CHECK(run.broken_lines == 3);
  CHECK(run.broken_where == "metrics.jsonl line 10");
  const std::string html = render_run(run);
  CHECK_THAT(html, ContainsSubstring("3 lines could not be read"));
  CHECK_THAT(html, ContainsSubstring("a &lt;b&gt; cpu"));
  CHECK_THAT(html, ContainsSubstring("&lt;spike&gt;"));
  CHECK_THAT(html, ContainsSubstring("2.2500"));  // bits per byte
  CHECK_THAT(html, ContainsSubstring("Kept mass at step 2"));
  CHECK(html.find("nan") == std::string::npos);
}

TEST_CASE("a run that went back replaces what it did before", "[report]") {
  const test::TempDir dir;
  std::string text;
  for (int s = 1; s <= 10; ++s) text += fmt::format("{{\"step\":{},\"loss\":{}}}\n", s, 100 - s);
  for (int s = 6; s <= 8; ++s) text += fmt::format("{{\"step\":{},\"loss\":{}}}\n", s, s);
  write(dir / "r/metrics.jsonl", text);
  const RunData run = read_run(dir / "r");
  const Series& loss = run.step.at("loss");
  CHECK(loss.x == std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(loss.y[4] == 95);
  CHECK(loss.y[5] == 6);
}

TEST_CASE("results of pivot eval become bars, lines and a table", "[report]") {
  const test::TempDir dir;
  write(dir / "r/eval/first.json", R"({"model":{"attention":"topk:k=4"},"results":[
    {"data":"recall","task":"retrieval","mode":"decode","attn":"dense","prefill":"dense","kept_mass":1,"seconds":1.5,
     "metrics":{"answer_accuracy":{"value":0.75,"stderr":0.05,"n":64},"token_accuracy":{"value":0.8,"stderr":0.04,"n":128}}},
    {"data":"recall","task":"retrieval","mode":"decode","attn":"topk:k=4","prefill":"dense","kept_mass":0.9,"seconds":1.2,
     "metrics":{"answer_accuracy":{"value":0.98,"stderr":null,"n":64}},
     "against_first":{"metric":"answer_accuracy","difference":0.23,"stderr":0.04,"mcnemar_p":0.001}},
    {"data":"text","task":"perplexity","mode":"train","attn":"dense","prefill":"","seconds":2,
     "metrics":{"loss":{"value":2.5,"stderr":0.01,"n":1000},"bits_per_byte":{"value":1.2,"stderr":0.005,"n":3000}},
     "loss_by_position":[{"from":0,"to":1,"loss":5,"n":4},{"from":1,"to":2,"loss":3,"n":4}]}]})");
  write(dir / "r/eval/broken.json", "{\"results\":");
  write(dir / "r/eval/other.samples.jsonl", "{}\n");
  const RunData run = read_run(dir / "r");
  CHECK(run.broken_lines == 1);
  REQUIRE(run.evals.size() == 3);
  CHECK(run.evals[1].trained);
  CHECK(run.evals[1].metrics.at("answer_accuracy").stderr_value == 0);
  CHECK(run.evals[2].loss_by_position.y == std::vector<double>{5, 3});
  const std::string html = render_run(run);
  CHECK_THAT(html, ContainsSubstring("recall: answers right, stepwise decoding"));
  CHECK_THAT(html, ContainsSubstring("topk:k=4, prefill dense (trained)"));
  CHECK_THAT(html, ContainsSubstring("0.7500 ± 0.0500"));
  CHECK_THAT(html, ContainsSubstring("+0.23 ± 0.04 (p = 0.001)"));
  CHECK_THAT(html, ContainsSubstring("text: loss by position, training path"));
  CHECK_THAT(html, ContainsSubstring("98.0 %"));  // headline of the trained attention
}

TEST_CASE("samples, configuration and summary are shown escaped", "[report]") {
  const test::TempDir dir;
  write(dir / "r/samples.jsonl",
        "{\"step\":7,\"prompt\":\"<i>\",\"text\":\"<i> & more\"}\n{\"step\":8,\"text\":12}\n");
  write(dir / "r/config.toml", "output = \"<here>\"\n");
  write(dir / "r/summary.json", R"({"retrieval":{"topk:k=16":0.99},"trained_attn":"topk:k=16"})");
  const std::string html = render_run(read_run(dir / "r"));
  CHECK_THAT(html, ContainsSubstring("<span class=\"prompt\">&lt;i&gt;</span> &amp; more</pre>"));
  CHECK_THAT(html, ContainsSubstring("output = &quot;&lt;here&gt;&quot;"));
  CHECK_THAT(html, ContainsSubstring("retrieval.topk:k=16"));
  CHECK(html.find("<i>") == std::string::npos);
}

TEST_CASE("the probe conversation is shown by what is learnt", "[report]") {
  const test::TempDir dir;
  write(dir / "r/samples.jsonl", "{\"step\":7,\"prompt\":\"p\",\"text\":\"t\"}\n");
  write(dir / "r/probe.json",
        R"({"place":"a<b.jsonl:3","runs":[{"text":"<|im_start|>","learnt":false,"special":true},
            {"text":"hi & bye","learnt":true,"special":false},7,{"learnt":"x"}]})");
  const std::string html = render_run(read_run(dir / "r"));
  CHECK_THAT(html, ContainsSubstring("a&lt;b.jsonl:3"));
  CHECK_THAT(html, ContainsSubstring("<span class=\"prompt special\">&lt;|im_start|&gt;</span>"));
  CHECK_THAT(html, ContainsSubstring("<span class=\"learnt\">hi &amp; bye</span>"));
  write(dir / "r/probe.json", "{\"runs\": [");
  CHECK(render_run(read_run(dir / "r")).find("Probe") == std::string::npos);
}

TEST_CASE("absurd values of the right form give a page all the same", "[report]") {
  const test::TempDir dir;
  write(dir / "r/metrics.jsonl",
        "{\"step\":1e300,\"loss\":1e308}\n{\"step\":1,\"loss\":-1e308}\n{\"step\":2,\"loss\":5e-"
        "324}\n"
        "{\"kind\":\"diagnostics\",\"step\":1,\"layers\":[{\"kept_mass\":\"x\"},{},7,{\"kept_"
        "mass\":[]}]}\n"
        "{\"kind\":[],\"step\":{}}\n{\"kind\":\"run\",\"memory\":[1,{\"a\":null}]}\n");
  write(dir / "r/eval/a.json",
        R"({"model":7,"results":[3,{"metrics":[1,2],"loss_by_position":9,"against_first":[]},
           {"task":"retrieval","metrics":{"answer_accuracy":{"value":1e300,"stderr":-5,"n":1e300}}}]})");
  write(dir / "r/summary.json", "[]");
  const std::string html = render_run(read_run(dir / "r"));
  CHECK_THAT(html, ContainsSubstring("</html>"));
}

TEST_CASE("runs are compared by name", "[report]") {
  const test::TempDir dir;
  write(dir / "one/metrics.jsonl", kMetrics);
  write(dir / "two/metrics.jsonl", "{\"step\":1,\"loss\":3.0}\n{\"step\":5,\"loss\":2.0}\n");
  const std::string html = render_comparison({read_run(dir / "one"), read_run(dir / "two")});
  CHECK_THAT(html, ContainsSubstring("2 runs compared"));
  CHECK_THAT(html, ContainsSubstring("Training loss (smoothed) by step"));
  CHECK_THAT(html, ContainsSubstring(">two</text>"));
}

TEST_CASE("what is not a run is refused", "[report]") {
  const test::TempDir dir;
  CHECK_THROWS_AS(read_run(dir / "missing"), UserError);
  std::filesystem::create_directories(dir / "empty");
  CHECK_THROWS_WITH(read_run(dir / "empty"), ContainsSubstring("nothing to report"));
  write(dir / "rubbish/metrics.jsonl", "\x01\xff\n{{{\n");
  CHECK_THROWS_AS(read_run(dir / "rubbish"), UserError);
}
