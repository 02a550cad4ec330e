#pragma once
/// Deterministic damage to an input: the ordinary tests' stand-in for a fuzzer.

#include <cstdint>
#include <string>

namespace pivot::fuzz {

/// Mutation number `index` of `input`: one to four of bit flips, bytes replaced, ranges removed,
/// repeated, zeroed or swapped, numbers put at their limits, cuts.
std::string mutate(const std::string& input, uint64_t index);

}  // namespace pivot::fuzz
