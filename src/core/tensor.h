#pragma once
/// Tensor: a non-owning, contiguous, row-major view. Dimensions outermost first.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include <fmt/core.h>

#include "src/base/check.h"
#include "src/core/dtype.h"

namespace pivot {

inline constexpr int kMaxRank = 5;

struct Shape {
  int rank = 0;
  std::array<int64_t, kMaxRank> dim = {};

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    PIVOT_CHECK(dims.size() <= kMaxRank, "rank {} is above {}", dims.size(), kMaxRank);
    for (const int64_t d : dims) dim[static_cast<size_t>(rank++)] = d;
  }
  int64_t operator[](int i) const { return dim[static_cast<size_t>(i)]; }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dim[static_cast<size_t>(i)];
    return n;
  }
  friend bool operator==(const Shape& a, const Shape& b) {
    if (a.rank != b.rank) return false;
    for (int i = 0; i < a.rank; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }
};

std::string to_string(const Shape& shape);

/// A default-constructed Tensor is "absent": optional operands are left that way.
/// On the plan device `data` is null although the tensor is present.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::F32;
  Shape shape;

  bool present() const { return shape.rank > 0; }
  int64_t dim(int i) const { return shape[i]; }
  int64_t count() const { return present() ? shape.count() : 0; }
  size_t bytes() const { return static_cast<size_t>(count()) * dtype_bytes(dtype); }

  /// Typed pointer; the element type must match.
  template <class T>
  T* as() const {
    PIVOT_CHECK(dtype == DTypeOf<T>::kValue, "tensor {} is {}, not {}", to_string(shape),
                dtype_name(dtype), dtype_name(DTypeOf<T>::kValue));
    return static_cast<T*>(data);
  }

  /// Same elements, other shape.
  Tensor reshaped(Shape other) const;
  /// Elements [begin, end) of the outermost dimension.
  Tensor rows(int64_t begin, int64_t end) const;
};

/// View of memory owned by someone else.
template <class T>
Tensor view(T* data, Shape shape) {
  return {data, DTypeOf<T>::kValue, shape};
}

/// Throws BugError naming the tensor and both shapes unless it is present with this dtype and
/// shape.
void expect(const Tensor& tensor, DType dtype, const Shape& shape, const char* name);
/// The same if the tensor is present; absent is fine.
void expect_if_present(const Tensor& tensor, DType dtype, const Shape& shape, const char* name);

}  // namespace pivot
