#include "kernels/cuda/aligned.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/rope/rope.h"
#include "kernels/vec_math.h"

namespace pivot {
namespace {

constexpr int kThreads = 256;
// Two rounds of work a thread at (H + G) D = 1536 in bf16, and half the threads have an angle.
constexpr int kBlockRows = 4;

template <class T>
struct Rotation {
  T* qkv;
  const int32_t* positions;
  const float* frequencies;
  int64_t rows;
  int rotated;   // heads a row
  int64_t size;  // elements a row
  int half;      // D / 2
  float sign;    // of the angle
};

/// Sine and cosine of all angles of the block's rows: rows of D / 2 cosines, then D / 2 sines. In
/// double, as the CPU twin: 60 fused multiply-adds a pair, which all heads of the row share, take
/// 5 % of the time in which an H100 moves the row.
template <class T>
__device__ void fill_angles(const Rotation<T>& a, float* table, int64_t first, int rows) {
  for (int i = static_cast<int>(threadIdx.x); i < rows * a.half; i += kThreads) {
    const int row = i / a.half;
    const int pair = i - row * a.half;
    const float angle = static_cast<float>(a.positions[first + row]) * a.frequencies[pair];
    const SinCos turn = vec_sincos(static_cast<double>(angle));
    table[2 * row * a.half + pair] = static_cast<float>(turn.cos);
    table[(2 * row + 1) * a.half + pair] = a.sign * static_cast<float>(turn.sin);
  }
}

/// Turns the pair (low, high).
__device__ __forceinline__ void turn(float& low, float& high, float cosine, float sine) {
  const float a = low;
  const float b = high;
  low = a * cosine - b * sine;
  high = b * cosine + a * sine;
}

/// A block has kBlockRows rows. Dynamic shared memory: (kBlockRows, 2, D / 2) floats. `Width` pairs
/// are turned at once: a pack, or one where half heads are no whole packs.
template <class T, int Width>
__global__ void __launch_bounds__(kThreads) rope_kernel(Rotation<T> a) {
  auto* const table = reinterpret_cast<float*>(cuda::dynamic_shared());
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kBlockRows;
  const int rows = a.rows - first < kBlockRows ? static_cast<int>(a.rows - first) : kBlockRows;
  fill_angles(a, table, first, rows);
  __syncthreads();

  const int pieces = a.half / Width;  // of a head
  const int items = a.rotated * pieces;
  for (int i = static_cast<int>(threadIdx.x); i < rows * items; i += kThreads) {
    const int row = i / items;
    const int head = (i - row * items) / pieces;
    const int pair = (i - row * items - head * pieces) * Width;
    T* const low = a.qkv + (first + row) * a.size + static_cast<int64_t>(head) * 2 * a.half + pair;
    T* const high = low + a.half;
    const float* const cosine = table + 2 * row * a.half + pair;
    const float* const sine = cosine + a.half;
    if constexpr (Width == 1) {
      float x = cuda::as_float(*low);
      float y = cuda::as_float(*high);
      turn(x, y, *cosine, *sine);
      *low = cuda::from_float<T>(x);
      *high = cuda::from_float<T>(y);
    } else {
      cuda::Pack<T> x = cuda::load_pack(low);
      cuda::Pack<T> y = cuda::load_pack(high);
#pragma unroll
      for (int k = 0; k < Width; k += cuda::kLanes<float>) {
        const cuda::Pack<float> c = cuda::load_pack(cosine + k);
        const cuda::Pack<float> s = cuda::load_pack(sine + k);
#pragma unroll
        for (int j = 0; j < cuda::kLanes<float>; ++j) {
          turn(x.value[k + j], y.value[k + j], c.value[j], s.value[j]);
        }
      }
      cuda::store_pack(low, x);
      cuda::store_pack(high, y);
    }
  }
}

template <class T>
void rotate(const Rope& a, Context& ctx) {
  const int64_t width = a.qkv.dim(2);
  const Rotation<T> rotation{.qkv = a.qkv.as<T>(),
                             .positions = a.positions.as<int32_t>(),
                             .frequencies = a.frequencies.as<float>(),
                             .rows = a.qkv.dim(0),
                             .rotated = a.heads + a.kv_heads,
                             .size = a.qkv.dim(1) * width,
                             .half = static_cast<int>(width / 2),
                             .sign = a.direction == RopeDirection::Forward ? 1.0F : -1.0F};
  const size_t table = static_cast<size_t>(kBlockRows * width) * sizeof(float);
  PIVOT_CHECK(table <= 48 * 1024, "D is {}: sines and cosines of {} rows take {} bytes", width,
              kBlockRows, table);
  const auto kernel =
      cuda::in_packs(width / 2, a.qkv) ? &rope_kernel<T, cuda::kLanes<T>> : &rope_kernel<T, 1>;
  cuda::launch(kernel, dim3(cuda::grid_size(cuda::ceil_div(rotation.rows, kBlockRows))),
               dim3(kThreads), table, cuda::stream(ctx), rotation);
}

}  // namespace

void rope_cuda(const Rope& a, Context& ctx) {
  if (a.qkv.count() == 0) return;
  a.qkv.dtype == DType::BF16 ? rotate<BFloat16>(a, ctx) : rotate<float>(a, ctx);
}

}  // namespace pivot
