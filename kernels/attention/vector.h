#pragma once
/// Fixed-width float vectors for the hand-blocked kernels, in the compiler's own notation. Only
/// files compiled with -ffp-contract=fast may include this: there a * b + c of vectors is one fused
/// operation, which the tests of score bits prove (neither compiler has a portable name for it).

#include <cmath>
#include <cstdint>

namespace pivot::vector {

// Expands to "1" where the machine has a fast fma and to the macro's own name elsewhere.
#define PIVOT_QUOTE(x) #x
#define PIVOT_QUOTE_VALUE(x) PIVOT_QUOTE(x)
inline constexpr bool kFastFma = PIVOT_QUOTE_VALUE(__FP_FAST_FMAF)[0] == '1';

/// Lanes of the widest register: 4 (SSE, NEON), 8 (AVX2) or 16 (AVX-512).
inline constexpr int kNativeLanes = __BIGGEST_ALIGNMENT__ / 4;

template <int kLanes>
struct VectorOf {
  using Value __attribute__((vector_size(kLanes * 4))) = float;
  using Memory __attribute__((vector_size(kLanes * 4), aligned(4), may_alias)) = float;
};
template <int kLanes>
using Vector = typename VectorOf<kLanes>::Value;

template <int kLanes>
[[gnu::always_inline]] inline Vector<kLanes> load(const float* from) {
  return *reinterpret_cast<const typename VectorOf<kLanes>::Memory*>(from);
}

template <int kLanes>
[[gnu::always_inline]] inline void store(float* to, Vector<kLanes> value) {
  *reinterpret_cast<typename VectorOf<kLanes>::Memory*>(to) = value;
}

/// a * b + c, rounded once.
template <int kLanes>
[[gnu::always_inline]] inline Vector<kLanes> fused(Vector<kLanes> a, Vector<kLanes> b,
                                                   Vector<kLanes> c) {
  if constexpr (kFastFma) {
    return a * b + c;
  } else {
    for (int l = 0; l < kLanes; ++l) c[l] = std::fma(a[l], b[l], c[l]);
    return c;
  }
}

template <int kLanes>
[[gnu::always_inline]] inline Vector<kLanes> broadcast(float x) {
  return x - Vector<kLanes>{};
}

}  // namespace pivot::vector
