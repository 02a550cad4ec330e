#include "train/metrics.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "src/base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"
#include "train/status_line.h"
#include "train/tensorboard.h"

namespace pivot::test {
namespace {

using Json = nlohmann::json;

std::vector<Json> lines_of(const std::string& path) {
  std::vector<Json> lines;
  std::istringstream text(read_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
  return lines;
}

StepMetrics step_of(int64_t step) {
  return {.step = step,
          .loss = 3.912,
          .lr = 3e-4,
          .grad_norm = 0.61,
          .tokens = step * 256,
          .targets = 250,
          .seconds = 0.412,
          .tokens_per_second = 12345,
          .mfu = 0.481,
          .mfu_dense = 0.6,
          .kept_mass = {},
          .attention = "topk:1%",
          .memory = 1288490189,
          .elapsed = 1.5};
}

TEST_CASE("metrics: a schema, then one object a line, documented key by key") {
  const TempDir dir;
  const std::string path = dir / "metrics.jsonl";
  {
    MetricsWriter writer(path, 0);
    writer.run({.step = 0, .text = {{"device", "cpu"}}, .numbers = {{"seed", 1}}, .memory = {}});
    StepMetrics m = step_of(1);
    m.kept_mass = 0.93;
    writer.step(m);
    m.grad_norm = NAN;
    m.kept_mass.reset();
    m.step = 2;
    writer.step(m);
    writer.validation({.step = 2,
                       .loss = 1.0,
                       .bits_per_byte = 2.5,
                       .tokens = 9,
                       .attention = "dense",
                       .elapsed = 1});
    AttentionDiagnostics d;
    d.layers = {{"topk:1%", 16, {0.5, 0.7}, {1, 2}}};
    writer.diagnostics(2, d, 3.0);
    writer.skip(
        {.step = 2, .reason = "why", .loss = NAN, .grad_norm = 1, .first_row = 8, .rows = 4});
    writer.end(2, "finished", 4);
  }
  const std::vector<Json> lines = lines_of(path);
  REQUIRE(lines.size() == 8);
  CHECK(lines[0]["kind"] == "schema");
  for (size_t i = 2; i <= 6; ++i) {
    const auto& keys = lines[0]["records"][lines[i]["kind"].get<std::string>()];
    for (const auto& [key, value] : lines[i].items()) {
      CAPTURE(key);
      CHECK((key == "kind" || keys.contains(key)));
    }
  }
  CHECK(lines[1]["device"] == "cpu");
  CHECK(lines[2]["kept_mass"] == 0.93);
  CHECK(lines[2]["ms"] == Approx(412));
  CHECK_FALSE(lines[3].contains("kept_mass"));
  CHECK(lines[3]["grad_norm"].is_null());
  CHECK(lines[4]["ppl"] == Approx(std::exp(1.0)));
  CHECK(lines[5]["layers"][0]["kept_mass"] == Json({0.5, 0.7}));
  CHECK(lines[7]["reason"] == "finished");
}

TEST_CASE("metrics: a resumed run drops what the killed one wrote after its checkpoint") {
  const TempDir dir;
  const std::string path = dir / "metrics.jsonl";
  {
    MetricsWriter writer(path, 0);
    for (int64_t step = 1; step <= 9; ++step) writer.step(step_of(step));
  }
  std::ofstream(path, std::ios::app) << "{\"kind\":\"step\",\"st";  // cut by the crash
  {
    MetricsWriter writer(path, 5);
    writer.step(step_of(6));
  }
  const std::vector<Json> lines = lines_of(path);
  REQUIRE(lines.size() == 7);
  CHECK(lines[0]["kind"] == "schema");
  for (size_t i = 1; i < lines.size(); ++i) CHECK(lines[i]["step"] == i);
}

TEST_CASE("status line: every figure of the step") {
  Status status{step_of(120), 1000, 0.93, 131};
  CHECK(format_status(status) ==
        "step 120/1000 | loss 3.912 | norm 0.61 | lr 3.0e-4 | 412 ms | 12.3k tok/s | 48% mfu | "
        "mass 0.93 | mem 1.2 GiB | eta 2m11s");
  status.step.epoch = 0.36;
  status.epochs = 3;
  CHECK(format_status(status).starts_with("step 120/1000 | epoch 0.36/3 | loss"));
  status.epochs = 0;
  status.steps = 0;
  status.kept_mass.reset();
  CHECK(format_status(status).starts_with("step 120 | loss"));
  CHECK(format_status(status).find("mass") == std::string::npos);
}

TEST_CASE("crc32c: the check values of RFC 3720") {
  CHECK(crc32c("123456789") == 0xE3069283U);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAU);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43U);
}

// A reader of its own: TFRecord frames, then protobuf fields.
template <class T>
T take(std::string_view& in) {
  T value;
  REQUIRE(in.size() >= sizeof(T));
  std::memcpy(&value, in.data(), sizeof(T));
  in.remove_prefix(sizeof(T));
  return value;
}

uint64_t take_varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(in);
    value |= uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
}

uint32_t unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282EAD8U;
  return (rotated >> 17) | (rotated << 15);
}

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string version;
  int64_t session = -1;
  std::vector<std::pair<std::string, float>> values;
};

std::pair<std::string, float> parse_value(std::string_view in) {
  std::pair<std::string, float> value;
  while (!in.empty()) {
    const uint64_t key = take_varint(in);
    if (key == (1 << 3 | 2)) {
      const uint64_t size = take_varint(in);
      value.first = in.substr(0, size);
      in.remove_prefix(size);
    } else {
      REQUIRE(key == (2 << 3 | 5));
      value.second = take<float>(in);
    }
  }
  return value;
}

Event parse_event(std::string_view in) {
  Event e;
  while (!in.empty()) {
    const uint64_t key = take_varint(in);
    if (key == (1 << 3 | 1)) {
      e.wall_time = take<double>(in);
    } else if (key == (2 << 3)) {
      e.step = static_cast<int64_t>(take_varint(in));
    } else {
      REQUIRE((key & 7) == 2);
      const uint64_t size = take_varint(in);
      std::string_view body = in.substr(0, size);
      in.remove_prefix(size);
      if (key >> 3 == 3) e.version = body;
      if (key >> 3 == 7) {
        REQUIRE(take_varint(body) == 1 << 3);
        e.session = static_cast<int64_t>(take_varint(body));
      }
      while (key >> 3 == 5 && !body.empty()) {
        REQUIRE(take_varint(body) == (1 << 3 | 2));
        const uint64_t length = take_varint(body);
        e.values.push_back(parse_value(body.substr(0, length)));
        body.remove_prefix(length);
      }
    }
  }
  return e;
}

std::vector<Event> read_events(const std::string& path) {
  const std::string file = read_file(path);
  std::string_view in = file;
  std::vector<Event> events;
  while (!in.empty()) {
    const std::string_view header = in.substr(0, 8);
    const auto size = take<uint64_t>(in);
    CHECK(unmask(take<uint32_t>(in)) == crc32c(header));
    const std::string_view body = in.substr(0, size);
    in.remove_prefix(size);
    CHECK(unmask(take<uint32_t>(in)) == crc32c(body));
    events.push_back(parse_event(body));
  }
  return events;
}

TEST_CASE("tensorboard: what is written reads back, frames, checksums and values") {
  const TempDir dir;
  TensorBoardWriter writer(dir.path(), 0);
  writer.scalars(1, {{"train/loss", 2.5}, {"train/lr", 1e-3}});
  writer.scalars(300, {{"train/loss", -1.25}});
  CHECK(
      std::filesystem::path(writer.path()).filename().string().starts_with("events.out.tfevents."));
  const std::vector<Event> events = read_events(writer.path());
  REQUIRE(events.size() == 3);
  CHECK(events[0].version == "brain.Event:2");
  CHECK(events[0].wall_time > 1.6e9);
  CHECK(events[1].step == 1);
  REQUIRE(events[1].values.size() == 2);
  CHECK(events[1].values[0] == std::pair<std::string, float>{"train/loss", 2.5F});
  CHECK(events[1].values[1] == std::pair<std::string, float>{"train/lr", 1e-3F});
  CHECK(events[2].step == 300);
  CHECK(events[2].values[0].second == -1.25F);

  const TensorBoardWriter resumed(dir.path(), 300);
  CHECK(resumed.path() > writer.path());
  const std::vector<Event> second = read_events(resumed.path());
  REQUIRE(second.size() == 2);
  CHECK(second[1].session == 1);
  CHECK(second[1].step == 301);
}

}  // namespace
}  // namespace pivot::test
