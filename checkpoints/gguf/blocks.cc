// Compiled without fused multiply-adds: the formulas round each operation, as the reference
// implementations do (ggml-quants.c of the ggml project; the Python package gguf).
#include "checkpoints/gguf/blocks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "src/base/check.h"
#include "src/core/dtype.h"
#include "src/core/half.h"

namespace pivot {
namespace {

float half_at(const uint8_t* p) {
  Float16 h;
  std::memcpy(&h, p, sizeof(h));
  return to_float(h);
}

// Bytes of a block, copied so that compilers see that writing floats does not change them.
template <int N>
struct Bytes {
  explicit Bytes(const uint8_t* from) { std::memcpy(at, from, N); }
  uint8_t at[N];
};

// F16 d, 16 bytes: byte i holds elements i (low) and i + 16 (high). x = d (q - 8)
struct Q4_0 {
  static constexpr int kBlock = 32, kBytes = 18;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b);
    const Bytes<16> q(b + 2);
    for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>((q.at[i] & 15) - 8);
    for (int i = 0; i < 16; ++i) out[16 + i] = d * static_cast<float>((q.at[i] >> 4) - 8);
  }
};

// F16 d, F16 m, then as Q4_0. x = d q + m
struct Q4_1 {
  static constexpr int kBlock = 32, kBytes = 20;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b);
    const float m = half_at(b + 2);
    const Bytes<16> q(b + 4);
    for (int i = 0; i < 16; ++i) out[i] = d * static_cast<float>(q.at[i] & 15) + m;
    for (int i = 0; i < 16; ++i) out[16 + i] = d * static_cast<float>(q.at[i] >> 4) + m;
  }
};

// F16 d, 32 signed bytes. x = d q
struct Q8_0 {
  static constexpr int kBlock = 32, kBytes = 34;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b);
    const Bytes<32> q(b + 2);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(q.at[i]));
  }
};

// 8 scales and 8 minima of 6 bits in 12 bytes: the first four of each in the low six bits of bytes
// 0 to 3 and 4 to 7, whose top two bits belong to the last four, as do the nibbles of 8 to 11.
struct SixBits {
  int scale, minimum;
};
SixBits six_bits(const uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4)};
}

// F16 d, F16 dmin, 12 bytes of scales, 4 x 32 bytes of which each gives two groups of 32 (low and
// high nibbles). x = (d scale) q - (dmin minimum)
struct Q4_K {
  static constexpr int kBlock = 256, kBytes = 144;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b);
    const float dmin = half_at(b + 2);
    for (int group = 0; group < 8; ++group) {
      const SixBits six = six_bits(b + 4, group);
      const float scale = d * static_cast<float>(six.scale);
      const float minimum = dmin * static_cast<float>(six.minimum);
      const Bytes<32> q(b + 16 + 32 * (group / 2));
      const int shift = 4 * (group % 2);
      float* x = out + 32 * group;
      for (int i = 0; i < 32; ++i) {
        x[i] = scale * static_cast<float>((q.at[i] >> shift) & 15) - minimum;
      }
    }
  }
};

// As Q4_K with 32 bytes in front of the nibbles: bit j of byte i is bit 4 of element i of group j.
struct Q5_K {
  static constexpr int kBlock = 256, kBytes = 176;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b);
    const float dmin = half_at(b + 2);
    const Bytes<32> high(b + 16);
    for (int group = 0; group < 8; ++group) {
      const SixBits six = six_bits(b + 4, group);
      const float scale = d * static_cast<float>(six.scale);
      const float minimum = dmin * static_cast<float>(six.minimum);
      const Bytes<32> q(b + 48 + 32 * (group / 2));
      const int shift = 4 * (group % 2);
      float* x = out + 32 * group;
      for (int i = 0; i < 32; ++i) {
        const int value = ((q.at[i] >> shift) & 15) | (((high.at[i] >> group) & 1) << 4);
        x[i] = scale * static_cast<float>(value) - minimum;
      }
    }
  }
};

// Two halves of 128 elements: 64 bytes of low nibbles, 32 bytes of two high bits for four groups of
// 32; then 16 signed scales, one for 16 elements, and F16 d. x = (d scale) (q - 32)
struct Q6_K {
  static constexpr int kBlock = 256, kBytes = 210;
  static void decode(const uint8_t* b, float* out) {
    const float d = half_at(b + 208);
    for (int group = 0; group < 8; ++group) {
      const int half = group / 4;
      const int part = group % 4;
      const Bytes<32> low(b + 64 * half + 32 * (part % 2));
      const int low_shift = 4 * (part / 2);
      const Bytes<32> high(b + 128 + 32 * half);
      const int high_shift = 2 * part;
      for (int run = 0; run < 2; ++run) {
        const auto signed_scale = static_cast<int8_t>(b[192 + 2 * group + run]);
        const float scale = d * static_cast<float>(signed_scale);
        float* x = out + 32 * group + 16 * run;
        for (int i = 0; i < 16; ++i) {
          const int at = 16 * run + i;
          const int q = ((low.at[at] >> low_shift) & 15) | (((high.at[at] >> high_shift) & 3) << 4);
          x[i] = scale * static_cast<float>(q - 32);
        }
      }
    }
  }
};

template <class Block>
void decode_blocks(const std::byte* in, int64_t count, float* out) {
  PIVOT_CHECK(count % Block::kBlock == 0, "{} elements are not whole blocks", count);
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  for (int64_t i = 0; i < count / Block::kBlock; ++i) {
    Block::decode(bytes + i * Block::kBytes, out + i * Block::kBlock);
  }
}

template <class T>
void decode_floats(const std::byte* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    T x;
    std::memcpy(&x, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = to_float(x);
  }
}

uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7FFFFFFFU;
}

void store(const void* value, size_t size, std::byte*& out) {
  std::memcpy(out, value, size);
  out += size;
}

bool encode_q8_0(const float* x, std::byte* out) {
  // Magnitudes in the order of their bits: an integer maximum is one that compilers vectorise.
  uint32_t largest = 0;
  for (int i = 0; i < Q8_0::kBlock; ++i) largest = std::max(largest, magnitude_bits(x[i]));
  const float d = std::bit_cast<float>(largest) / 127;
  const float inverse = 1 / d;
  const Float16 stored = to_float16(d);
  if (!std::isfinite(to_float(stored))) return false;
  int8_t q[Q8_0::kBlock] = {};
  // Where 1 / d is not finite, d is zero in the file and so is every value.
  if (std::isfinite(inverse)) {
    for (int i = 0; i < Q8_0::kBlock; ++i) {
      const float y = x[i] * inverse;
      const float a = std::fabs(y);
      const int whole = static_cast<int>(a);
      const int rounded = whole + static_cast<int>(2 * (a - static_cast<float>(whole)));
      q[i] = static_cast<int8_t>(y < 0 ? -rounded : rounded);
    }
  }
  store(&stored, sizeof(stored), out);
  store(q, sizeof(q), out);
  return true;
}

}  // namespace

void dequantize(GgufType type, const std::byte* in, int64_t count, float* out) {
  switch (type) {
    case GgufType::F32:
      std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
      return;
    case GgufType::F16:
      return decode_floats<Float16>(in, count, out);
    case GgufType::BF16:
      return decode_floats<BFloat16>(in, count, out);
    case GgufType::Q4_0:
      return decode_blocks<Q4_0>(in, count, out);
    case GgufType::Q4_1:
      return decode_blocks<Q4_1>(in, count, out);
    case GgufType::Q8_0:
      return decode_blocks<Q8_0>(in, count, out);
    case GgufType::Q4_K:
      return decode_blocks<Q4_K>(in, count, out);
    case GgufType::Q5_K:
      return decode_blocks<Q5_K>(in, count, out);
    case GgufType::Q6_K:
      return decode_blocks<Q6_K>(in, count, out);
  }
  PIVOT_CHECK(false, "GGUF type {} cannot be read", static_cast<uint32_t>(type));
}

bool quantize(GgufType type, const float* in, int64_t count, std::byte* out) {
  if (!all_finite(in, count)) return false;
  bool fits = true;
  switch (type) {
    case GgufType::F32:
      std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
      return true;
    case GgufType::F16:
      for (int64_t i = 0; i < count; ++i) {
        const Float16 x = to_float16(in[i]);
        fits &= (x.bits & 0x7C00U) != 0x7C00U;
        std::memcpy(out + i * 2, &x, sizeof(x));
      }
      return fits;
    case GgufType::BF16:
      for (int64_t i = 0; i < count; ++i) {
        const BFloat16 x = to_bfloat16(in[i]);
        fits &= (x.bits & 0x7F80U) != 0x7F80U;
        std::memcpy(out + i * 2, &x, sizeof(x));
      }
      return fits;
    case GgufType::Q8_0:
      PIVOT_CHECK(count % Q8_0::kBlock == 0, "{} elements are not whole blocks", count);
      for (int64_t i = 0; i < count / Q8_0::kBlock; ++i) {
        fits &= encode_q8_0(in + i * Q8_0::kBlock, out + i * Q8_0::kBytes);
      }
      return fits;
    default:
      PIVOT_CHECK(false, "GGUF type {} cannot be written", gguf_type(type).name);
  }
}

bool all_finite(const float* x, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, magnitude_bits(x[i]));
  return largest < 0x7F800000U;
}

}  // namespace pivot
