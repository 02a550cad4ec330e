#include "src/core/hdf5.h"

#include <fstream>

#include "src/base/check.h"
#include "src/base/file.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

using namespace pivot;

namespace {

template <class T>
void round_trip(hdf5::File& file, const std::string& path, const std::vector<T>& values) {
  file.write_array<T>(path, values);
  CHECK(file.dataset(path).type() == hdf5::TypeOf<T>::value);
}

}  // namespace

TEST_CASE("hdf5 datasets and attributes round-trip in every type") {
  const test::TempDir dir;
  const std::string path = dir / "a.h5";
  const std::vector<float> floats = {1.5F, -0.0F, 3e-40F};
  const std::vector<int64_t> wide = {-1, int64_t{1} << 40};
  {
    hdf5::File file = hdf5::File::create(path);
    round_trip<float>(file, "/deep/group/floats", floats);
    round_trip<double>(file, "/doubles", {1e-300});
    round_trip<uint8_t>(file, "/bytes", {0, 255});
    round_trip<uint16_t>(file, "/words", {65535});
    round_trip<int32_t>(file, "/ints", {-2147483647});
    round_trip<int64_t>(file, "/wide", wide);
    round_trip<float>(file, "/none", {});
    file.write_text("/text", "some text\n");
    file.set_attribute("/", "name", "pivot");
    file.set_attribute("/", "empty", "");
    file.set_attribute("/deep", "count", int64_t{1} << 50);
    file.set_attribute("/deep/group/floats", "scale", 0.1);
    file.close();
  }
  const hdf5::File file = hdf5::File::open(path);
  CHECK(file.read_array<float>("/deep/group/floats") == floats);
  CHECK(file.read_array<int64_t>("/wide") == wide);
  CHECK(file.read_array<float>("/none").empty());
  CHECK(file.read_text("/text") == "some text\n");
  CHECK(file.string_attribute("/", "name") == "pivot");
  CHECK(file.string_attribute("/", "empty").empty());
  CHECK(file.int64_attribute("/deep", "count") == int64_t{1} << 50);
  CHECK(file.double_attribute("/deep/group/floats", "scale") == 0.1);
  CHECK(file.has_attribute("/", "name"));
  CHECK_FALSE(file.has_attribute("/", "other"));
  CHECK(file.list("/deep") == std::vector<std::string>{"group"});
  CHECK_FALSE(file.exists("/deep/other/x"));
}

TEST_CASE("hdf5 hyperslabs read and write parts, and chunked datasets grow") {
  const test::TempDir dir;
  const std::string path = dir / "a.h5";
  {
    hdf5::File file = hdf5::File::create(path);
    {
      hdf5::Dataset fixed = file.create_dataset("/fixed", hdf5::Type::I32, 6);
      const std::vector<int32_t> left = {1, 2, 3}, right = {4, 5, 6};
      fixed.write<int32_t>(3, right);
      fixed.write<int32_t>(0, left);
      hdf5::Dataset grown = file.create_dataset("/grown", hdf5::Type::U16, 0, 4);
      for (uint16_t i = 0; i < 10; ++i) grown.append(std::span<const uint16_t>(&i, 1));
      CHECK(grown.size() == 10);
    }
    file.close();
  }
  const hdf5::File file = hdf5::File::open(path);
  std::vector<int32_t> part(4);
  file.dataset("/fixed").read<int32_t>(1, part);
  CHECK(part == std::vector<int32_t>{2, 3, 4, 5});
  file.dataset("/grown").read<int32_t>(6, part);  // converted from uint16
  CHECK(part == std::vector<int32_t>{6, 7, 8, 9});
  CHECK_THROWS_AS(file.dataset("/fixed").read<int32_t>(3, part), UserError);
  CHECK_THROWS_AS(file.dataset("/fixed").read<int32_t>(-1, part), UserError);
}

TEST_CASE("hdf5 errors name the file and the object") {
  const test::TempDir dir;
  const std::string path = dir / "a.h5";
  CHECK_THROWS_WITH(hdf5::File::open(path), ContainsSubstring("a.h5"));
  CHECK_THROWS_AS(hdf5::File::open(dir.path()), UserError);
  CHECK_THROWS_AS(hdf5::File::create(dir / "no/such/dir.h5"), Error);
  write_file_atomically(path, "this is not HDF5");
  CHECK_THROWS_WITH(hdf5::File::open(path), ContainsSubstring("is not an HDF5 file"));
  {
    hdf5::File file = hdf5::File::create(path);
    file.write_array<int32_t>("/x", std::vector<int32_t>(1000, 7));
    file.set_attribute("/", "n", 3);
  }
  {
    const hdf5::File file = hdf5::File::open(path);
    CHECK_THROWS_WITH(file.dataset("/y"), ContainsSubstring("/y: dataset missing"));
    CHECK_THROWS_WITH(file.read_array<float>("/x"), ContainsSubstring("int32, float32 is needed"));
    CHECK_THROWS_WITH(file.string_attribute("/", "n"), ContainsSubstring("not text"));
    CHECK_THROWS_WITH(file.int64_attribute("/", "m"), ContainsSubstring("@m"));
  }
  const std::string bytes = read_file(path);
  write_file_atomically(path, std::string_view(bytes).substr(0, bytes.size() - 100));
  CHECK_THROWS_WITH(hdf5::File::open(path), ContainsSubstring("not a complete HDF5 file"));
}

TEST_CASE("hdf5 refuses a header that declares more than the file holds") {
  const test::TempDir dir;
  const std::string path = dir / "a.h5";
  {
    hdf5::File file = hdf5::File::create(path);
    // Chunked and never written: nothing is stored, so the declared size is a lie.
    file.create_dataset("/huge", hdf5::Type::I64, int64_t{1} << 45, 1 << 10);
  }
  const hdf5::File file = hdf5::File::open(path);
  CHECK_THROWS_WITH(file.dataset("/huge"), ContainsSubstring("declares"));
}
