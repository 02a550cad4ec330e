#include "checkpoints/safetensors.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot::test {
namespace {

namespace fs = std::filesystem;

std::string little_endian(uint64_t value) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i));
  return bytes;
}

void write_raw(const std::string& path, const std::string& header, const std::string& data) {
  std::ofstream(path, std::ios::binary) << little_endian(header.size()) << header << data;
}

// Two tensors written by hand from the format's description: "a" F32 (2, 2) = 1 2 3 4 and
// "b" U8 (3) = 7 8 9.
constexpr char kHeader[] =
    R"({"__metadata__":{"made":"by hand"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}})";
const std::string kData(
    "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x07\x08\x09", 19);

TEST_CASE("a file made by hand") {
  const TempDir dir;
  write_raw(dir / "hand", kHeader, kData);
  const SafetensorsFile file(dir / "hand");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"made", "by hand"}});
  REQUIRE(file.entries().size() == 2);
  const SafetensorsFile::Entry& a = file.entries().at("a");
  CHECK(a.dtype == "F32");
  CHECK(a.shape == std::vector<int64_t>{2, 2});
  REQUIRE(a.bytes.size() == 16);
  float values[4];
  std::memcpy(values, a.bytes.data(), sizeof(values));
  CHECK(std::vector<float>(values, values + 4) == std::vector<float>{1, 2, 3, 4});
  CHECK(file.entries().at("b").bytes[2] == std::byte{9});
}

TEST_CASE("what is written is the format, byte for byte") {
  const TempDir dir;
  std::vector<uint8_t> small = {7, 8, 9};
  std::vector<float> wide = {1, 2, 3, 4};
  // Given narrow first: the writer orders by width so that every tensor is aligned.
  write_safetensors(dir / "out", {{"b", view(small.data(), {3})}, {"a", view(wide.data(), {2, 2})}},
                    {{"made", "by hand"}});
  std::string header = kHeader;
  header.resize((header.size() + 7) / 8 * 8, ' ');
  write_raw(dir / "expected", header, kData);
  CHECK(read_file(dir / "out") == read_file(dir / "expected"));
}

TEST_CASE("every dtype, odd names and shapes survive") {
  const TempDir dir;
  std::vector<float> f = {1.5F};
  std::vector<BFloat16> h = {{0x3fc0}, {0x4000}};
  std::vector<int32_t> i = {-1, 2, 3};
  std::vector<int64_t> l = {int64_t{1} << 40};
  std::vector<uint8_t> u = {255};
  write_safetensors(dir / "out",
                    {{"u \"quoted\"\n", view(u.data(), {1, 1, 1})},
                     {"f", view(f.data(), {1})},
                     {"h", view(h.data(), {2})},
                     {"i", view(i.data(), {3, 1})},
                     {"l", view(l.data(), {1})},
                     {"empty", view(f.data(), {4, 0})}},
                    {{"text", "caf\xc3\xa9 \xff"}});
  const SafetensorsFile file(dir / "out");
  CHECK(file.entries().size() == 6);
  CHECK(file.entries().at("u \"quoted\"\n").bytes[0] == std::byte{255});
  CHECK(file.entries().at("h").dtype == "BF16");
  CHECK(file.entries().at("i").shape == std::vector<int64_t>{3, 1});
  CHECK(std::memcmp(file.entries().at("l").bytes.data(), l.data(), 8) == 0);
  CHECK(file.entries().at("empty").bytes.empty());
  CHECK(file.metadata().at("text") == "caf\xc3\xa9 \xef\xbf\xbd");
}

TEST_CASE("written whole or not at all") {
  const TempDir dir;
  std::vector<float> f = {1};
  const Tensor tensor = view(f.data(), {1});
  write_safetensors(dir / "out", {{"a", tensor}}, {});
  const std::string before = read_file(dir / "out");
  fs::create_directories(dir / "out.tmp");  // in the way of the temporary file
  CHECK_THROWS_AS(write_safetensors(dir / "out", {{"b", tensor}}, {}), Error);
  CHECK(read_file(dir / "out") == before);
  CHECK_THROWS_AS(write_safetensors(dir / "dup", {{"a", tensor}, {"a", tensor}}, {}), BugError);
  CHECK_FALSE(fs::exists(dir / "dup"));
}

TEST_CASE("hostile and damaged files are refused by name") {
  const TempDir dir;
  const auto refused = [&](const std::string& header, const std::string& data,
                           const std::string& why) {
    CAPTURE(header);
    write_raw(dir / "bad.safetensors", header, data);
    CHECK_THROWS_AS(SafetensorsFile(dir / "bad.safetensors"), UserError);
    CHECK_THROWS_WITH(SafetensorsFile(dir / "bad.safetensors"),
                      ContainsSubstring("bad.safetensors") && ContainsSubstring(why));
  };
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  const std::string four(4, 'x');
  refused("", "", "not a safetensors file");
  refused("[]", "", "not a safetensors file");
  refused("{", "", "not valid JSON");
  refused("{} x", "", "not valid JSON");
  refused("{\"a\":1}", "", "a number where");
  refused("{\"a\":null}", "", "null where");
  refused(tensor("F32", "[1]", "[0,8]"), four, "truncated");
  refused(tensor("F32", "[1]", "[4,0]"), four, "truncated");
  refused(tensor("F32", "[2]", "[0,4]"), four, "its shape takes 8 bytes");
  refused(tensor("F33", "[1]", "[0,4]"), four, "not known");
  refused(tensor("F32", "[-1]", "[0,4]"), four, "a negative number");
  refused(tensor("F32", "[1.0]", "[0,4]"), four, "a fraction");
  refused(tensor("F32", "[[1]]", "[0,4]"), four, "a list where");
  refused(tensor("F32", "[1]", "[0]"), four, "two numbers");
  refused(tensor("F32", "[1]", "[0,4,4]"), four, "two numbers");
  refused(tensor("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), four, "overflows");
  refused(tensor("F32", "[4611686018427387905]", "[0,4]"), four, "overflows");
  refused(tensor("F32", "[18446744073709551615]", "[0,4]"), four, "above 2^63");
  refused(tensor("F32", "[1]", "[18446744073709551612,0]"), four, "truncated");
  refused(tensor("F32", "[1]", "[0,4]"), four + "y", "described by the header");
  refused(tensor("U8", "[3]", "[1,4]"), four, "a hole");
  refused(R"({"a":{"dtype":"U8","shape":[4]}})", four, "needs dtype, shape and data_offsets");
  refused(R"({"a":{"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]}})", four,
          "two fields");
  refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}})", four, "unknown field");
  refused(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
          R"("a":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
          four, "occurs twice");
  refused(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
          R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
          four, "overlap");
  refused(R"({"__metadata__":{"a":1}})", "", "a number where");
  refused(R"({"__metadata__":{"a":"x","a":"y"}})", "", "occurs twice");
  refused(std::string(1 << 20, '{'), "", "not valid JSON");
  refused(R"({"a":)" + std::string(1 << 20, '['), "", "a list where");

  std::ofstream(dir / "short") << "abc";
  CHECK_THROWS_WITH(SafetensorsFile(dir / "short"), ContainsSubstring("too short"));
  std::ofstream(dir / "long") << little_endian(~uint64_t{0}) << "{}";
  CHECK_THROWS_WITH(SafetensorsFile(dir / "long"), ContainsSubstring("truncated or not"));
  CHECK_THROWS_AS(SafetensorsFile(dir / "absent"), UserError);
}

TEST_CASE("every cut of a good file is refused") {
  const TempDir dir;
  write_raw(dir / "whole", kHeader, kData);
  const std::string whole = read_file(dir / "whole");
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(dir / "cut", std::ios::binary) << whole.substr(0, size);
    CAPTURE(size);
    CHECK_THROWS_AS(SafetensorsFile(dir / "cut"), UserError);
  }
}

}  // namespace
}  // namespace pivot::test
