#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <vector>

#include "checkpoints/gguf/blocks.h"
#include "src/core/half.h"
#include "tests/support/catch.h"

namespace pivot::test {
namespace {

std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

GgufType type_named(const std::string& name) {
  for (uint32_t id = 0; id < 64; ++id) {
    const GgufTypeInfo* info = find_gguf_type(id);
    if (info != nullptr && info->name == name) return static_cast<GgufType>(id);
  }
  FAIL("no type " << name);
  return GgufType::F32;
}

// scripts/gguf_blocks.py made the file with the reference implementation.
TEST_CASE("blocks are decoded and encoded as by the reference, bit for bit") {
  std::ifstream file("tests/checkpoints/gguf_blocks.txt");
  std::string line, action, name, in, out;
  std::set<std::string> decoded;
  int encoded = 0;
  while (std::getline(file, line)) {
    std::istringstream(line) >> action >> name >> in >> out;
    CAPTURE(action, name);
    const GgufType type = type_named(name);
    const std::vector<std::byte> from = from_hex(in);
    const std::vector<std::byte> to = from_hex(out);
    std::vector<std::byte> got(to.size());
    if (action == "decode") {
      std::vector<float> values(to.size() / sizeof(float));
      dequantize(type, from.data(), static_cast<int64_t>(values.size()), values.data());
      std::memcpy(got.data(), values.data(), got.size());
      decoded.insert(name);
    } else {
      std::vector<float> values(from.size() / sizeof(float));
      std::memcpy(values.data(), from.data(), from.size());
      REQUIRE(quantize(type, values.data(), static_cast<int64_t>(values.size()), got.data()));
      ++encoded;
    }
    CHECK(got == to);
  }
  CHECK(decoded ==
        std::set<std::string>{"F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"});
  CHECK(encoded == 15);
}

TEST_CASE("every half becomes the float it says, and comes back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 half{static_cast<uint16_t>(bits)};
    const int exponent = static_cast<int>((bits >> 10) & 31);
    const int mantissa = static_cast<int>(bits & 1023);
    const float x = to_float(half);
    CAPTURE(bits);
    if (exponent == 31) {
      REQUIRE((mantissa == 0 ? std::isinf(x) : std::isnan(x)));
      if (mantissa != 0) continue;
    } else {
      const double magnitude =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      REQUIRE(x == (bits >> 15 ? -magnitude : magnitude));
    }
    REQUIRE(std::signbit(x) == (bits >> 15 != 0));
    REQUIRE(to_float16(x).bits == bits);
  }
}

TEST_CASE("floats between two halves go to the nearer, ties to the even one") {
  for (uint16_t bits = 0; bits < 0x7BFF; ++bits) {
    const double low = to_float(Float16{bits});
    const double high = to_float(Float16{static_cast<uint16_t>(bits + 1)});
    const auto middle = static_cast<float>((low + high) / 2);  // exact
    const auto even = static_cast<uint16_t>(bits + bits % 2);
    REQUIRE(to_float16(middle).bits == even);
    REQUIRE(to_float16(std::nextafter(middle, 0.0F)).bits == bits);
    REQUIRE(to_float16(std::nextafter(middle, 1e30F)).bits == bits + 1);
  }
  CHECK(to_float16(65519.99F).bits == 0x7BFF);
  CHECK(to_float16(65520.0F).bits == 0x7C00);
  CHECK(std::isnan(to_float(to_float16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("what a type cannot hold is refused") {
  std::vector<float> x(32, 1);
  std::vector<std::byte> out(128);
  const auto fits = [&](GgufType type, float value) {
    x[17] = value;
    return quantize(type, x.data(), 32, out.data());
  };
  for (const GgufType type : {GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q8_0}) {
    CHECK(fits(type, 6e4F));
    CHECK_FALSE(fits(type, std::numeric_limits<float>::infinity()));
    CHECK_FALSE(fits(type, std::numeric_limits<float>::quiet_NaN()));
  }
  CHECK_FALSE(fits(GgufType::F16, 7e4F));
  CHECK_FALSE(fits(GgufType::F16, -65520));
  CHECK(fits(GgufType::BF16, 3e38F));
  CHECK_FALSE(fits(GgufType::BF16, 3.4e38F));  // rounds up to infinity
  CHECK(fits(GgufType::Q8_0, 8e6F));
  CHECK_FALSE(fits(GgufType::Q8_0, 9e6F));  // 127 times the largest half
}

}  // namespace
}  // namespace pivot::test
