#include "src/base/file.h"

#include <filesystem>

#include "src/base/check.h"
#include "tests/support/catch.h"
#include "tests/support/temp_dir.h"

namespace pivot {

TEST_CASE("files are written whole and read back") {
  test::TempDir dir;
  const std::string path = dir / "a.txt";
  write_file_atomically(path, "first");
  write_file_atomically(path, "second");
  CHECK(read_file(path) == "second");
  CHECK(MappedFile(path).text() == "second");
  CHECK_FALSE(std::filesystem::exists(path + ".tmp"));
  CHECK(hash_file_hex(path) == hash_hex("second"));
  write_file_atomically(dir / "empty", "");
  CHECK(MappedFile(dir / "empty").text().empty());
}

TEST_CASE("missing files and directories are user errors") {
  test::TempDir dir;
  CHECK_THROWS_AS(read_file(dir / "none"), UserError);
  CHECK_THROWS_AS(MappedFile(dir.path()), UserError);
  CHECK_THROWS_AS(write_file_atomically(dir / "no/such/dir/x", "x"), Error);
  CHECK_THROWS_WITH(
      require_free_disk(dir.path(), int64_t{1} << 60, "a checkpoint"),
      ContainsSubstring("a checkpoint needs 1.02e+03 PiB") || ContainsSubstring("are free"));
}

}  // namespace pivot
