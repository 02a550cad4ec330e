#include "kernels/attention/cuda/tiles.h"

#include <vector>

#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

// Every tile in the order of list_tiles: the last rows first.
std::vector<int32_t> tiles_by_hand(const std::vector<int32_t>& offsets, int32_t rows,
                                   int64_t bound) {
  std::vector<int32_t> ascending;  // triples
  for (size_t d = 0; d + 1 < offsets.size(); ++d) {
    for (int32_t first = offsets[d]; first < offsets[d + 1]; first += rows) {
      ascending.insert(ascending.end(), {offsets[d], offsets[d + 1], first});
    }
  }
  std::vector<int32_t> tiles(static_cast<size_t>(3 * bound), 0);
  for (size_t t = 0; t < ascending.size() / 3; ++t) {
    for (size_t i = 0; i < 3; ++i) tiles[tiles.size() - 3 * (t + 1) + i] = ascending[3 * t + i];
  }
  return tiles;
}

void check_tiles(const std::vector<int32_t>& lengths, int64_t rows) {
  std::vector<int32_t> offsets{0};
  for (const int32_t n : lengths) offsets.push_back(offsets.back() + n);
  test::CudaTestContext cuda(size_t{1} << 20);
  const int64_t tokens = offsets.back();
  const auto documents = static_cast<int64_t>(lengths.size());
  const test::CudaBuffer given(cuda, {documents + 1}, offsets);
  const Tensor tiles = attention::list_tiles(given, tokens, rows, cuda);
  REQUIRE(tiles.dim(0) == attention::tile_bound(tokens, documents, rows));
  CHECK(cuda.arena.used() == attention::tiles_scratch(tokens, documents, rows));
  std::vector<int32_t> got(static_cast<size_t>(tiles.count()));
  copy_to_host(got.data(), tiles, cuda);
  CHECK(got == tiles_by_hand(offsets, static_cast<int32_t>(rows), tiles.dim(0)));
  CHECK(given.intact());
}

TEST_CASE("tiles of one document around multiples of the rows", "[sanitize]") {
  for (const int32_t rows : {1, 16, 64, 128}) {
    for (const int32_t n : {1, rows - 1, rows, rows + 1, 3 * rows - 1, 3 * rows, 3 * rows + 1}) {
      if (n > 0) check_tiles({n}, rows);
    }
  }
}

TEST_CASE("tiles of a document with more tiles than the block has threads", "[sanitize]") {
  check_tiles({700}, 2);
  check_tiles({256 * 3 + 1, 5}, 1);
}

TEST_CASE("tiles skip empty documents", "[sanitize]") {
  check_tiles({0, 5, 0, 0, 70, 64, 0}, 64);
  check_tiles({0}, 64);
}

TEST_CASE("tiles of more documents than the block has threads", "[sanitize]") {
  std::vector<int32_t> lengths;
  for (int32_t d = 0; d < 777; ++d) lengths.push_back(d * 37 % 101);
  check_tiles(lengths, 16);
  check_tiles(std::vector<int32_t>(512, 1), 64);
}

}  // namespace
}  // namespace pivot
