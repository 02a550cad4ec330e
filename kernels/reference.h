#pragma once
/// What the NAME_ref.h of all ops share: named operands and cases.
///
/// A reference is a struct of static functions, from which the tests and `pivot bench op` are
/// generated:
///   kName                              the op's name
///   cases()                            shapes and kinds of values to test
///   operands(case)                     the op's tensors with role, shape and type; case.real is
///                                      that of activations and weights
///   adjust(case, values)               overwrites random inputs that have to fit together
///   run<S>(case, values)               the formula, in loops; S is double or Enclosed
///   args(case, tensors)                the op's arguments, where its CUDA twin is also tested
///                                      emulated
///   call(case, tensors, ctx)           the op itself
/// An operand called "d" + NAME is the gradient of NAME: the finite-difference tests rely on it.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "kernels/enclosed.h"
#include "src/base/philox.h"
#include "src/core/context.h"

namespace pivot::ref {

enum class Role { In, Out, InOut };

struct Operand {
  std::string name;
  Role role;
  Shape shape;
  DType dtype = DType::F32;
};

/// Dimension letters of docs/style.md; an op reads the ones it has.
struct Dims {
  int64_t n = 1, c = 1, h = 1, g = 1, d = 2, f = 1, v = 1, i = 1, o = 1, p = 1;
};

enum class Values { Normal, Large, Equal };

struct OpCase {
  std::string name;
  Dims dims;
  Values values = Values::Normal;
  DType real = DType::F32;  // of activations and weights: operands() gives it to them
};

/// Every shape with normal values; the first also with large and with equal ones.
inline std::vector<OpCase> standard_cases(const std::vector<std::pair<std::string, Dims>>& shapes) {
  std::vector<OpCase> cases;
  for (const auto& [name, dims] : shapes) cases.push_back({name, dims, Values::Normal});
  cases.push_back({"large values", shapes.front().second, Values::Large});
  cases.push_back({"all equal", shapes.front().second, Values::Equal});
  return cases;
}

/// Values of the operands by name; integers are kept as S too.
template <class S>
using ValueMap = std::map<std::string, std::vector<S>>;
using TensorMap = std::map<std::string, Tensor>;

/// The tensor, or an absent one.
inline Tensor find(const TensorMap& tensors, const std::string& name) {
  const auto at = tensors.find(name);
  return at == tensors.end() ? Tensor{} : at->second;
}

/// Random values that are exactly representable as floats, for every operand (outputs included: an
/// accumulated one starts from them).
inline ValueMap<double> random_values(const OpCase& c, const std::vector<Operand>& operands,
                                      double large = 1e4) {
  ValueMap<double> values;
  uint32_t index = 0;
  for (const Operand& operand : operands) {
    const Philox random(1, Stream::Test, index++);
    std::vector<double>& v = values[operand.name];
    v.resize(static_cast<size_t>(operand.shape.count()));
    for (size_t i = 0; i < v.size(); ++i) {
      const double x = c.values == Values::Equal ? 0.75 : random.normal(i);
      v[i] = static_cast<float>(c.values == Values::Large ? large * x : x);
    }
  }
  return values;
}

/// Integers in [0, limit) for an index operand.
inline void fill_integers(std::vector<double>& values, int64_t limit, uint32_t substream) {
  const Philox random(2, Stream::Test, substream);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(random.below(static_cast<uint64_t>(limit), i));
  }
}

}  // namespace pivot::ref
