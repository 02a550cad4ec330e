#pragma once
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter
/// generator without state. The value depends only on (seed, stream, position), never on order or
/// batching.

#include <array>
#include <cmath>
#include <cstdint>

#include "src/base/platform.h"

namespace pivot {

/// Streams keep the uses of one seed apart. Never renumber: saved runs depend on the values.
enum class Stream : uint32_t {
  Init = 1,
  DataOrder = 2,
  Sample = 3,
  Synth = 4,
  Noise = 5,
  Test = 6
};

class Philox {
 public:
  PIVOT_HD constexpr Philox(uint64_t seed, Stream stream, uint32_t substream = 0)
      : key0_(static_cast<uint32_t>(seed)),
        key1_(static_cast<uint32_t>(seed >> 32)),
        stream_(static_cast<uint32_t>(stream)),
        substream_(substream) {}

  struct Block {
    uint32_t word[4];
  };

  /// The four words at `position`.
  PIVOT_HD constexpr Block block(uint64_t position) const {
    uint32_t c0 = static_cast<uint32_t>(position);
    uint32_t c1 = static_cast<uint32_t>(position >> 32);
    uint32_t c2 = stream_;
    uint32_t c3 = substream_;
    uint32_t k0 = key0_;
    uint32_t k1 = key1_;
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53U} * c0;
      const uint64_t p1 = uint64_t{0xCD9E8D57U} * c2;
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
      c0 = n0;
      c2 = n2;
      k0 += 0x9E3779B9U;
      k1 += 0xBB67AE85U;
    }
    return {{c0, c1, c2, c3}};
  }

  PIVOT_HD constexpr uint32_t bits(uint64_t position) const {
    return block(position / 4).word[position % 4];
  }
  PIVOT_HD constexpr uint64_t bits64(uint64_t position) const {
    const Block b = block(position);
    return (uint64_t{b.word[0]} << 32) | b.word[1];
  }
  /// Uniform in [0, 1), 24 bits.
  PIVOT_HD constexpr float uniform(uint64_t position) const {
    return static_cast<float>(bits(position) >> 8) * 0x1p-24F;
  }
  /// Uniform integer in [0, n), n >= 1; bias below n / 2^64.
  PIVOT_HD constexpr uint64_t below(uint64_t n, uint64_t position) const {
    const Block b = block(position);
    const uint64_t x = (uint64_t{b.word[0]} << 32) | b.word[1];
    return static_cast<uint64_t>((static_cast<unsigned __int128>(x) * n) >> 64);
  }
  /// Standard normal (Box-Muller), in double so that CPU and GPU round alike.
  double normal(uint64_t position) const {
    const Block b = block(position);
    const double u1 = (static_cast<double>(b.word[0]) + 1.0) * 0x1p-32;
    const double u2 = static_cast<double>(b.word[1]) * 0x1p-32;
    return std::sqrt(-2.0 * std::log(u1)) * std::cos(6.283185307179586 * u2);
  }

 private:
  uint32_t key0_, key1_, stream_, substream_;
};

}  // namespace pivot
