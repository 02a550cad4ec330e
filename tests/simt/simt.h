#pragma once
/// CUDA C++ for kernels that are compiled as C++: included before anything else in every emulated
/// .cu file (docs/simt.md). Only what kernels may use is here.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include <cuda_runtime_api.h>
#include <math.h>  // isnan and others, global as in CUDA

#include "tests/simt/engine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
#define __shared__ static thread_local  // memory.h finds them by this
#define __grid_constant__

#define threadIdx (::pivot::simt::position.thread)
#define blockIdx (::pivot::simt::position.block)
#define blockDim (::pivot::simt::position.block_size)
#define gridDim (::pivot::simt::position.grid_size)
#define warpSize (::pivot::simt::kWarp)

// Barriers and fences ------------------------------------------------------------------------

inline void __syncthreads(pivot::simt::Place place = pivot::simt::Place::current()) {
  pivot::simt::barrier(place);
}
inline void __syncwarp(uint32_t mask = 0xFFFFFFFFU,
                       pivot::simt::Place place = pivot::simt::Place::current()) {
  pivot::simt::meet(mask, "__syncwarp", nullptr, nullptr, place);
}
// Threads of a block run on one thread of the CPU: what one wrote, the next one sees.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {
  pivot::simt::yield();
}

// Warp instructions --------------------------------------------------------------------------

namespace pivot::simt {

template <class T>
struct ShuffleOperand {
  T value;
  int source;  // lane whose value this lane wants
  T result;
};

template <class T>
T shuffle(uint32_t mask, const char* operation, T value, int source, Place place) {
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  ShuffleOperand<T> mine{value, source, {}};
  meet(
      mask, operation, &mine,
      [](const Meeting& m) {
        for (int l = 0; l < kWarp; ++l) {
          if ((m.lanes >> l & 1U) == 0) continue;
          auto& to = *static_cast<ShuffleOperand<T>*>(m.operand[l]);
          if ((m.lanes >> to.source & 1U) == 0)
            fault("a shuffle from a lane that is not there", m.place);
          to.result = static_cast<ShuffleOperand<T>*>(m.operand[to.source])->value;
        }
      },
      place);
  return mine.result;
}

struct VoteOperand {
  bool predicate;
  uint32_t ballot;
};
inline uint32_t ballot(uint32_t mask, const char* operation, bool predicate, Place place) {
  VoteOperand mine{predicate, 0};
  meet(
      mask, operation, &mine,
      [](const Meeting& m) {
        uint32_t votes = 0;
        for (int l = 0; l < kWarp; ++l) {
          if ((m.lanes >> l & 1U) != 0 && static_cast<VoteOperand*>(m.operand[l])->predicate) {
            votes |= 1U << l;
          }
        }
        for (int l = 0; l < kWarp; ++l) {
          if ((m.lanes >> l & 1U) != 0) static_cast<VoteOperand*>(m.operand[l])->ballot = votes;
        }
      },
      place);
  return mine.ballot;
}

}  // namespace pivot::simt

template <class T>
T __shfl_sync(uint32_t mask, T x, int source, int width = 32,
              pivot::simt::Place place = pivot::simt::Place::current()) {
  const int first = pivot::simt::lane() & ~(width - 1);
  return pivot::simt::shuffle(mask, "__shfl_sync", x, first + (source & (width - 1)), place);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T x, int bits, int width = 32,
                  pivot::simt::Place place = pivot::simt::Place::current()) {
  const int lane = pivot::simt::lane();
  const int source = lane ^ bits;
  const bool inside = source < (lane & ~(width - 1)) + width;
  return pivot::simt::shuffle(mask, "__shfl_xor_sync", x, inside ? source : lane, place);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T x, unsigned distance, int width = 32,
                 pivot::simt::Place place = pivot::simt::Place::current()) {
  const int lane = pivot::simt::lane();
  const int source = lane - static_cast<int>(distance);
  const bool inside = source >= (lane & ~(width - 1));
  return pivot::simt::shuffle(mask, "__shfl_up_sync", x, inside ? source : lane, place);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T x, unsigned distance, int width = 32,
                   pivot::simt::Place place = pivot::simt::Place::current()) {
  const int lane = pivot::simt::lane();
  const int source = lane + static_cast<int>(distance);
  const bool inside = source < (lane & ~(width - 1)) + width;
  return pivot::simt::shuffle(mask, "__shfl_down_sync", x, inside ? source : lane, place);
}
inline uint32_t __ballot_sync(uint32_t mask, bool predicate,
                              pivot::simt::Place place = pivot::simt::Place::current()) {
  return pivot::simt::ballot(mask, "__ballot_sync", predicate, place);
}
inline int __any_sync(uint32_t mask, bool predicate,
                      pivot::simt::Place place = pivot::simt::Place::current()) {
  return pivot::simt::ballot(mask, "__any_sync", predicate, place) != 0;
}
inline int __all_sync(uint32_t mask, bool predicate,
                      pivot::simt::Place place = pivot::simt::Place::current()) {
  return pivot::simt::ballot(mask, "__all_sync", !predicate, place) == 0;
}

// Atomics: fibers are not interrupted --------------------------------------------------------

template <class T>
T atomicExch(T* at, std::type_identity_t<T> x) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const T old = *at;
  *at = x;
  return old;
}
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> x) {
  return atomicExch(at, static_cast<T>(*at + x));
}
template <class T>
T atomicSub(T* at, std::type_identity_t<T> x) {
  return atomicExch(at, static_cast<T>(*at - x));
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> x) {
  static_assert(std::is_integral_v<T>);
  return atomicExch(at, x > *at ? x : *at);
}
template <class T>
T atomicMin(T* at, std::type_identity_t<T> x) {
  static_assert(std::is_integral_v<T>);
  return atomicExch(at, x < *at ? x : *at);
}
template <class T>
T atomicOr(T* at, std::type_identity_t<T> x) {
  return atomicExch(at, *at | x);
}
template <class T>
T atomicAnd(T* at, std::type_identity_t<T> x) {
  return atomicExch(at, *at & x);
}
template <class T>
T atomicXor(T* at, std::type_identity_t<T> x) {
  return atomicExch(at, *at ^ x);
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  return atomicExch(at, *at == expected ? x : *at);
}

// Bits ---------------------------------------------------------------------------------------

inline int __popc(uint32_t x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<uint32_t>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline uint32_t __brev(uint32_t x) {
  uint32_t y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1U) << (31 - i);
  return y;
}
inline uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>(((uint64_t{high} << 32 | low) << (shift & 31U)) >> 32);
}
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> (shift & 31U));
}
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t bytes = uint64_t{y} << 32 | x;
  uint32_t out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const auto byte = static_cast<uint32_t>(bytes >> (8 * (selector >> 4 * i & 7U)) & 0xFFU);
    const bool sign = (selector >> 4 * i & 8U) != 0;
    out |= (sign ? (byte >> 7) * 0xFFU : byte) << 8 * i;
  }
  return out;
}
inline uint32_t __float_as_uint(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline float __uint_as_float(uint32_t x) {
  return std::bit_cast<float>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}

// Conversions: out of range to the nearest value, NaN to 0 -------------------------------------

namespace pivot::simt {
template <class Integer>
Integer saturate(double x) {
  if (std::isnan(x)) return 0;
  const double low = static_cast<double>(std::numeric_limits<Integer>::min());
  const double high = static_cast<double>(std::numeric_limits<Integer>::max());
  if (x <= low) return std::numeric_limits<Integer>::min();
  if (x >= high) return std::numeric_limits<Integer>::max();
  return static_cast<Integer>(x);
}
/// Keeps the compiler from fusing this value's computation with another.
inline float rounded(float x) {
  volatile float y = x;
  return y;
}
}  // namespace pivot::simt

inline int __float2int_rz(float x) {
  return pivot::simt::saturate<int>(std::trunc(x));
}
inline int __float2int_rn(float x) {
  return pivot::simt::saturate<int>(std::nearbyint(x));
}
inline int __float2int_rd(float x) {
  return pivot::simt::saturate<int>(std::floor(x));
}
inline int __float2int_ru(float x) {
  return pivot::simt::saturate<int>(std::ceil(x));
}
inline uint32_t __float2uint_rz(float x) {
  return pivot::simt::saturate<uint32_t>(std::trunc(x));
}
inline uint32_t __float2uint_rn(float x) {
  return pivot::simt::saturate<uint32_t>(std::nearbyint(x));
}
inline uint32_t __float2uint_rd(float x) {
  return pivot::simt::saturate<uint32_t>(std::floor(x));
}
inline uint32_t __float2uint_ru(float x) {
  return pivot::simt::saturate<uint32_t>(std::ceil(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(uint32_t x) {
  return static_cast<float>(x);
}

// Arithmetic ---------------------------------------------------------------------------------

inline float __fadd_rn(float x, float y) {
  return pivot::simt::rounded(x + y);
}
inline float __fsub_rn(float x, float y) {
  return pivot::simt::rounded(x - y);
}
inline float __fmul_rn(float x, float y) {
  return pivot::simt::rounded(x * y);
}
inline float __fmaf_rn(float x, float y, float z) {
  return std::fma(x, y, z);
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline float __frcp_rn(float x) {
  return 1.0F / x;
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float __frsqrt_rn(float x) {
  return static_cast<float>(1 / std::sqrt(double{x}));
}
inline float rsqrtf(float x) {
  return static_cast<float>(1 / std::sqrt(double{x}));
}
inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1) : 0;  // NaN gives 0
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp2f(float x) {
  return std::exp2(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __log2f(float x) {
  return std::log2(x);
}

// CUDA has these in the global namespace for all arithmetic types.
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

// Loads and stores with cache hints ----------------------------------------------------------

template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
T __ldca(const T* at) {
  return *at;
}
template <class T>
void __stcs(T* at, std::type_identity_t<T> x) {
  *at = x;
}
template <class T>
void __stcg(T* at, std::type_identity_t<T> x) {
  *at = x;
}

inline void __trap(pivot::simt::Place place = pivot::simt::Place::current()) {
  pivot::simt::fault("__trap()", place);
}
