#pragma once
/// Sweeps over one row of scores. Sums run in 16 interleaved parts whatever the vector width.
/// `count` is a multiple of kRowStep; callers pad with -inf, whose exponential is 0.

#include <bit>
#include <cstdint>
#include <cstring>

namespace pivot::attention {

inline constexpr int kRowStep = 16;

/// Largest score; NaNs are passed over; -inf for none.
float row_max(const float* scores, int64_t count);

/// weights[i] = exp(scale * (scores[i] - max)), may be in place; returns their sum.
float exp_row(float* weights, const float* scores, int64_t count, float scale, float max);
/// The sum alone.
float exp_sum(const float* scores, int64_t count, float scale, float max);
/// sum of e * x with x = scale * (scores[i] - max), e = exp(x); terms with e = 0 count 0.
float exp_moment(const float* scores, int64_t count, float scale, float max);

/// weights[i] = exp(scale * scores[i] - lse): probabilities of a row whose lse is known.
void probability_row(float* weights, const float* scores, int64_t count, float scale, float lse);

/// flags[i] = not (scores[i] <= gate), so that a NaN is flagged and a NaN gate lets all pass;
/// returns how many.
int64_t flag_above(uint8_t* flags, const float* scores, int64_t count, float gate);
/// flags[i] = not (scores[i] < tau); returns how many.
int64_t flag_at_least(uint8_t* flags, const float* scores, int64_t count, float tau);

/// Calls body(i) for every flag (a byte of value 0 or 1) that is set, in order. `count` is rounded
/// up to a multiple of 64.
template <class Body>
[[gnu::always_inline]] inline void for_flags(const uint8_t* flags, int64_t count,
                                             const Body& body) {
  for (int64_t first = 0; first < count; first += 64) {
    // One branch a set bit and one a word, instead of one a byte.
    uint64_t bits = 0;
    for (int byte = 0; byte < 8; ++byte) {
      uint64_t eight = 0;
      std::memcpy(&eight, flags + first + 8 * byte, 8);
      // The product moves the lowest bit of byte i to bit 56 + i.
      bits |= (eight * 0x0102040810204080U >> 56) << (8 * byte);
    }
    for (; bits != 0; bits &= bits - 1) body(first + std::countr_zero(bits));
  }
}

/// values[i] *= factor
void scale_row(float* values, int64_t count, float factor);
/// True if every value is finite.
bool all_finite(const float* values, int64_t count);

}  // namespace pivot::attention
