#pragma once
/// What an op costs, and where the plan device and MFU add it up.

#include <cstdint>
#include <map>
#include <string>

namespace pivot {

/// Floating-point operations (an FMA counts two) and compulsory memory traffic of one op call.
struct Cost {
  double flops = 0;
  double bytes = 0;

  Cost& operator+=(const Cost& other) {
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
};

/// Sum of the costs of all op calls, in total and by op.
struct CostLedger {
  Cost total;
  std::map<std::string, Cost> by_op;

  void add(const char* op, const Cost& cost) {
    total += cost;
    by_op[op] += cost;
  }
};

}  // namespace pivot
