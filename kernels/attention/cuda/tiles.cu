#include "kernels/attention/cuda/tiles.h"
#include "kernels/cuda/launch.cuh"

namespace pivot::attention {
namespace {

constexpr int kThreads = 256;

// Tiles before each document by a scan over strips of kThreads documents, then a thread writes the
// tiles of one document after the other, all threads together.
__global__ void __launch_bounds__(kThreads)
    list_tiles_kernel(const int32_t* offsets, int documents, int rows, int bound, Tile* tiles) {
  __shared__ int32_t count[kThreads];
  __shared__ int32_t start[kThreads];
  const int lane = static_cast<int>(threadIdx.x);
  int32_t before = 0;
  for (int strip = 0; strip < documents; strip += kThreads) {
    const int d = strip + lane;
    count[lane] = d < documents ? (offsets[d + 1] - offsets[d] + rows - 1) / rows : 0;
    __syncthreads();
    if (lane == 0) {
      int32_t sum = before;
      for (int i = 0; i < kThreads; ++i) {
        start[i] = sum;
        sum += count[i];
      }
    }
    __syncthreads();
    const int in_strip = documents - strip < kThreads ? documents - strip : kThreads;
    for (int i = 0; i < in_strip; ++i) {
      const int32_t begin = offsets[strip + i];
      const int32_t end = offsets[strip + i + 1];
      for (int32_t t = lane; t < count[i]; t += kThreads) {
        tiles[bound - 1 - (start[i] + t)] = {begin, end, begin + t * rows};
      }
    }
    before = start[kThreads - 1] + count[kThreads - 1];
    __syncthreads();
  }
  for (int32_t t = before + lane; t < bound; t += kThreads) tiles[bound - 1 - t] = {0, 0, 0};
}

}  // namespace

Tensor list_tiles(const Tensor& doc_offsets, int64_t tokens, int64_t rows, Context& ctx) {
  const int64_t documents = doc_offsets.dim(0) - 1;
  const int64_t bound = tile_bound(tokens, documents, rows);
  const Tensor tiles = ctx.scratch.tensor(DType::I32, {bound, 3});
  cuda::launch(&list_tiles_kernel, dim3(1), dim3(kThreads), 0, cuda::stream(ctx),
               doc_offsets.as<int32_t>(), static_cast<int>(documents), static_cast<int>(rows),
               static_cast<int>(bound), reinterpret_cast<Tile*>(tiles.as<int32_t>()));
  return tiles;
}

}  // namespace pivot::attention
