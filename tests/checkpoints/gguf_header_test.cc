#include <cstring>

#include "checkpoints/gguf/file.h"
#include "checkpoints/gguf/header.h"
#include "src/base/check.h"
#include "tests/checkpoints/gguf_build.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

void refused(const std::string& bytes, const std::string& why) {
  CAPTURE(why);
  CHECK_THROWS_AS(parse_gguf(bytes, "x.gguf"), UserError);
  CHECK_THROWS_WITH(parse_gguf(bytes, "x.gguf"),
                    ContainsSubstring("x.gguf") && ContainsSubstring(why));
}

// Every kind of value and two tensors.
GgufBytes small() {
  GgufBytes g;
  g.text("t", "text");
  g.u32("u", 7);
  g.set("i8", 1, little(int8_t{-3}));
  g.set("u64", 10, little(~uint64_t{0}));
  g.set("f64", 12, little(0.1));
  g.f32("f", 1e-5F);
  g.flag("b", true);
  g.texts("ts", {"one", "", "three"});
  g.i32s("is", {-1, 2});
  g.array("nested", 9, 2,
          little(uint32_t{0}) + little(uint64_t{1}) + "x" + little(uint32_t{8}) +
              little(uint64_t{1}) + prefixed("y"));
  g.floats("a", {2, 3}, {1, 2, 3, 4, 5, 6});
  g.tensors.push_back({"q", {32}, 8, std::string(34, '\1')});
  return g;
}

TEST_CASE("a file made by hand") {
  for (const uint32_t version : {2U, 3U}) {
    const TempDir dir;
    GgufBytes g = small();
    g.version = version;
    g.save(dir / "x.gguf");
    const GgufFile file(dir / "x.gguf");
    CHECK(file.version() == version);
    CHECK(file.text("t") == "text");
    CHECK(file.integer("u") == 7);
    CHECK(file.integer("i8") == -3);
    CHECK(file.fraction("f64") == 0.1);
    CHECK(file.fraction("f") == 1e-5);  // the decimal, not the float's digits
    CHECK(file.flag("b") == true);
    CHECK(file.texts("ts") == std::vector<std::string_view>{"one", "", "three"});
    CHECK(file.integers("is") == std::vector<int64_t>{-1, 2});
    CHECK_FALSE(file.text("absent").has_value());
    CHECK(file.texts("absent").empty());

    CHECK_THROWS_WITH(file.text("u"), ContainsSubstring("'u' must be a string, is U32"));
    CHECK_THROWS_WITH(file.integer("f"), ContainsSubstring("must be an integer, is F32"));
    CHECK_THROWS_WITH(file.integer("u64"), ContainsSubstring("above 2^63"));
    CHECK_THROWS_WITH(file.fraction("u"), ContainsSubstring("must be a fraction"));
    CHECK_THROWS_WITH(file.flag("t"), ContainsSubstring("must be a boolean"));
    CHECK_THROWS_WITH(file.texts("is"), ContainsSubstring("an array of strings"));
    CHECK_THROWS_WITH(file.integers("nested"), ContainsSubstring("an array of integers"));
    CHECK_THROWS_WITH(file.floats("ts"), ContainsSubstring("an array of F32"));

    REQUIRE(file.tensors().size() == 2);
    const GgufTensorInfo& a = file.tensors().find("a")->second;
    CHECK(a.shape == std::vector<int64_t>{3, 2});
    float values[6];
    REQUIRE(file.bytes(a).size() == sizeof(values));
    std::memcpy(values, file.bytes(a).data(), sizeof(values));
    CHECK(values[5] == 6);
    const GgufTensorInfo& q = file.tensors().find("q")->second;
    CHECK(std::string(q.type->name) == "Q8_0");
    CHECK(file.bytes(q).size() == 34);
  }
}

TEST_CASE("every cut of a good file is refused") {
  const GgufBytes g = small();
  std::string whole = g.bytes();
  whole.resize(whole.size() - (64 - 34));  // nothing needs the last padding
  CHECK_NOTHROW(parse_gguf(whole, "x.gguf"));
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK_THROWS_AS(parse_gguf(whole.substr(0, size), "x.gguf"), UserError);
  }
}

TEST_CASE("other formats and versions are named") {
  refused("", "truncated");
  refused("GGML............................", "not a GGUF file");
  GgufBytes g = small();
  g.version = 1;
  refused(g.bytes(), "version 1");
  g.version = 4;
  refused(g.bytes(), "version 4");
  g.version = 0x03000000;
  refused(g.bytes(), "big-endian");
}

TEST_CASE("absurd counts are refused before anything is allocated") {
  const auto with = [](const auto& change) {
    GgufBytes g = small();
    change(g);
    return g.bytes();
  };
  constexpr int64_t kHuge = int64_t{1} << 62;
  refused(with([&](GgufBytes& g) { g.key_count = kHuge; }), "truncated or damaged");
  refused(with([&](GgufBytes& g) { g.tensor_count = kHuge; }), "a tensor's name");
  for (const uint32_t element : {0U, 4U, 7U, 8U, 9U, 12U}) {
    refused(with([&](GgufBytes& g) { g.array("big", element, ~uint64_t{0} / 2, ""); }), "big");
  }
  refused(with([](GgufBytes& g) { g.set("s", 8, little(~uint64_t{0}) + "abc"); }), "key 's'");
  refused(with([](GgufBytes& g) { g.text(std::string(70000, 'k'), "v"); }), "a key of 70000 bytes");
  refused(with([](GgufBytes& g) { g.text("", "v"); }), "a key of 0 bytes");
  refused(with([](GgufBytes& g) { g.tensor("a").name = std::string(65, 'n'); }), "65 bytes");
}

TEST_CASE("values must be what their type allows") {
  const auto with = [](const auto& change) {
    GgufBytes g = small();
    change(g);
    return g.bytes();
  };
  refused(with([](GgufBytes& g) { g.set("z", 13, "x"); }), "unknown type 13");
  refused(with([](GgufBytes& g) { g.array("z", 99, 0, ""); }), "unknown type 99");
  refused(with([](GgufBytes& g) { g.set("z", 7, "\2"); }), "neither 0 nor 1");
  refused(with([](GgufBytes& g) {
            g.keys.push_back({"t", 8, prefixed("again")});
          }),
          "key 't' occurs twice");
  std::string deep = little(uint32_t{0}) + little(uint64_t{0});
  for (int i = 0; i < 100; ++i) deep = little(uint32_t{9}) + little(uint64_t{1}) + deep;
  refused(with([&](GgufBytes& g) { g.set("deep", 9, deep); }), "deeper than 4");
  // Messages show no control characters.
  refused(with([](GgufBytes& g) { g.set("z\x1b[31m", 13, "x"); }), "key 'z?[31m'");
}

TEST_CASE("alignment") {
  GgufBytes g = small();
  g.alignment = 64;
  g.u32("general.alignment", 64);
  CHECK_NOTHROW(parse_gguf(g.bytes(), "x.gguf"));
  for (const uint32_t bad : {0U, 3U, 48U}) {
    g.u32("general.alignment", bad);
    refused(g.bytes(), "power of two");
  }
  g.u32("general.alignment", 0x80000000U);
  refused(g.bytes(), "not a multiple of the alignment");
  g.set("general.alignment", 10, little(uint64_t{64}));
  refused(g.bytes(), "power of two of type U32");
  g = small();
  g.tensor("q").offset = 8;
  refused(g.bytes(), "not a multiple of the alignment 32");
}

TEST_CASE("tensors have sane shapes and lie inside the file, apart") {
  const auto with = [](const auto& change) {
    GgufBytes g = small();
    change(g);
    return g.bytes();
  };
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {}; }), "0 dimensions");
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {1, 1, 1, 1, 6}; }), "5 dimensions");
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {2, 0}; }), "dimension of 0");
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {1ULL << 40, 1ULL << 40}; }), "2^63");
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {1ULL << 62, 1}; }), "2^64");
  refused(with([](GgufBytes& g) { g.tensor("a").dims = {200, 3}; }), "truncated?");
  refused(with([](GgufBytes& g) { g.tensor("a").type = 4; }), "which GGUF does not define");
  refused(with([](GgufBytes& g) { g.tensor("q").dims = {33}; }), "blocks of 32");
  refused(with([](GgufBytes& g) { g.tensor("q").name = "a"; }), "tensor 'a' occurs twice");
  refused(with([](GgufBytes& g) { g.tensor("q").offset = 0; }), "overlaps");
  refused(with([](GgufBytes& g) { g.tensor("q").offset = int64_t{1} << 40; }), "truncated?");
  // A hole is not an error: files are aligned in their own ways.
  CHECK_NOTHROW(parse_gguf(with([](GgufBytes& g) {
                             g.tensor("q").offset = 64;
                             g.tensors.push_back({"end", {8}, 0, std::string(32, 'x'), 128});
                             g.tensor("q").data.resize(96, '\0');
                           }),
                           "x.gguf"));
}

}  // namespace
}  // namespace pivot::test
