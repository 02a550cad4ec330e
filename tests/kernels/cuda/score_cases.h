#pragma once
/// Kinds of queries and keys on which the bits of scores are compared.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/attention/score_bits.h"
#include "src/base/philox.h"
#include "tests/kernels/cuda/score_kernels.h"
#include "tests/support/cuda_context.h"

namespace pivot::test {

/// How integers and tensor cores are compared. AboveTiny: sums below 2^-120 may differ by 16 units
/// of 2^-149 (measured: 90 % are equal, the others differ by 1 to 16).
enum class Compare { Bits, AboveTiny };
enum class ScoreRole : uint32_t { Query, Key };

struct ScoreCase {
  const char* name;
  Compare compare;
  /// Element `column` of `row`; word: random bits of this element, normal: a normal number of it.
  BFloat16 (*element)(ScoreRole role, int row, int column, int width, uint32_t word, float normal);
};

/// sign, an exponent field of [first, first + count), fraction.
constexpr BFloat16 bfloat16_with(uint32_t word, uint32_t first, uint32_t count) {
  const uint32_t field = first + (word >> 8 & 0xFFFF) % count;
  return {static_cast<uint16_t>((word & 1) << 15 | field << 7 | (word >> 24 & 0x7F))};
}

inline std::vector<ScoreCase> score_cases() {
  using R = ScoreRole;
  return {
      {"normal", Compare::Bits,
       [](R, int, int, int, uint32_t, float normal) { return to_bfloat16(normal); }},
      {"outlier channels", Compare::Bits,
       [](R, int, int column, int, uint32_t, float normal) {
         return to_bfloat16(column % 37 == 5 ? 40 * normal : normal);
       }},
      {"common offset that cancels", Compare::Bits,
       [](R role, int, int column, int, uint32_t, float normal) {
         const float offset = 8 * std::sin(1.0F + static_cast<float>(column / 2));
         return to_bfloat16(normal + (role == R::Key && column % 2 == 0 ? -offset : offset));
       }},
      {"wide exponents", Compare::Bits,
       [](R, int, int, int, uint32_t word, float) { return bfloat16_with(word, 97, 61); }},
      {"halves that cancel", Compare::Bits, nullptr},  // made from the first half, see score_rows
      {"all bit patterns", Compare::AboveTiny,
       [](R, int row, int column, int, uint32_t word, float) {
         // An infinity or NaN in a few rows: else every score would be one.
         const BFloat16 x{static_cast<uint16_t>(word)};
         const bool is_finite = (x.bits & 0x7F80) != 0x7F80;
         return is_finite || (row % 8 == 0 && column % 16 == 3) ? x : BFloat16{0x3F80};
       }},
      {"finite of any exponent, signed zeros", Compare::AboveTiny,
       [](R, int, int, int, uint32_t word, float) {
         const BFloat16 x = bfloat16_with(word, 67, 121);
         return word >> 4 & 0xF ? x : BFloat16{static_cast<uint16_t>(x.bits & 0x8000)};
       }},
      {"integers", Compare::Bits,
       [](R, int, int, int, uint32_t word, float) {
         return to_bfloat16(static_cast<float>(static_cast<int>(word % 17) - 8));
       }},
      {"products near the denormals", Compare::AboveTiny,
       [](R, int, int, int, uint32_t word, float) { return bfloat16_with(word, 55, 10); }},
      {"repeated sparse keys", Compare::Bits,
       [](R, int, int, int, uint32_t word, float normal) {
         return word & 3 ? BFloat16{0} : to_bfloat16(normal);
       }},
  };
}

/// (rows, width) of one role.
inline std::vector<BFloat16> score_rows(const ScoreCase& c, ScoreRole role, int rows, int width) {
  const Philox random(static_cast<uint64_t>(width), Stream::Test, static_cast<uint32_t>(role));
  std::vector<BFloat16> values;
  for (int row = 0; row < rows; ++row) {
    const bool repeats = role == ScoreRole::Key && std::string(c.name) == "repeated sparse keys";
    const int source = repeats ? row % 7 : row;
    for (int column = 0; column < width; ++column) {
      const auto at = static_cast<uint64_t>(source * width + column);
      const float normal = random.normal(at);
      const uint32_t word = random.bits(at + (uint64_t{1} << 40));
      if (c.element != nullptr) {
        values.push_back(c.element(role, source, column, width, word, normal));
      } else if (column < width / 2) {
        values.push_back(to_bfloat16(4 * normal));
      } else {
        // q k of the second half is minus that of the first, but for one query channel in 16.
        const float first = to_float(values[values.size() - static_cast<size_t>(width / 2)]);
        const bool off = role == ScoreRole::Query && word % 16 == 0;
        values.push_back(to_bfloat16(role == ScoreRole::Key ? -first
                                     : off                  ? 1.01F * first
                                                            : first));
      }
    }
  }
  return values;
}

/// The same bits, or both NaN.
inline bool same_score(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

inline int64_t differing(const std::vector<float>& a, const std::vector<float>& b,
                         Compare compare) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool tiny = compare == Compare::AboveTiny && std::abs(a[i]) < 0x1p-120F &&
                      std::abs(double{a[i]} - b[i]) <= 16 * 0x1p-149;
    count += static_cast<int64_t>(!same_score(a[i], b[i]) && !tiny);
  }
  return count;
}

/// The rows of a case in device memory, and their scores by any of the ways.
class DeviceScores {
 public:
  DeviceScores(const ScoreCase& c, int width)
      : width_(width),
        // Emulated multiprocessors are few and slow.
        rows_(cuda::device_info(0).multiprocessors > 8 ? 512 : 64),
        q_(score_rows(c, ScoreRole::Query, rows_, width)),
        k_(score_rows(c, ScoreRole::Key, rows_, width)),
        device_q_(cuda_, {rows_, width}, q_),
        device_k_(cuda_, {rows_, width}, k_) {}

  template <class Way>
  std::vector<float> run(const Way& way) {
    const CudaBuffer scores(cuda_, DType::F32, {rows_, rows_});
    way(ScoreTensors{scores, device_q_, device_k_}, cuda_.ctx);
    cuda::check_launch("scores");
    CHECK(scores.intact());
    return scores.download<float>();
  }
  std::vector<float> on_host() const {
    std::vector<float> scores;
    for (int i = 0; i < rows_; ++i) {
      for (int j = 0; j < rows_; ++j) {
        scores.push_back(mma_dot(&q_[static_cast<size_t>(i * width_)],
                                 &k_[static_cast<size_t>(j * width_)], width_));
      }
    }
    return scores;
  }

 private:
  int width_;
  int rows_;
  std::vector<BFloat16> q_, k_;
  CudaTestContext cuda_;
  CudaBuffer device_q_, device_k_;
};

}  // namespace pivot::test
