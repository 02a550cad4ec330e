#include "src/core/tensor.h"

namespace pivot {

std::string to_string(const Shape& shape) {
  std::string out = "(";
  for (int i = 0; i < shape.rank; ++i) out += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return out + ")";
}

Tensor Tensor::reshaped(Shape other) const {
  PIVOT_CHECK(other.count() == count(), "{} cannot become {}", to_string(shape), to_string(other));
  return {data, dtype, other};
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  PIVOT_CHECK(present() && 0 <= begin && begin <= end && end <= dim(0), "rows [{}, {}) of {}",
              begin, end, to_string(shape));
  Tensor part = *this;
  part.shape.dim[0] = end - begin;
  const int64_t row = dim(0) == 0 ? 0 : count() / dim(0);
  if (data != nullptr) {
    part.data =
        static_cast<std::byte*>(data) + static_cast<size_t>(begin * row) * dtype_bytes(dtype);
  }
  return part;
}

void expect(const Tensor& tensor, DType dtype, const Shape& shape, const char* name) {
  PIVOT_CHECK(tensor.present(), "{} is missing, {} {} expected", name, dtype_name(dtype),
              to_string(shape));
  PIVOT_CHECK(tensor.dtype == dtype && tensor.shape == shape, "{} is {} {}, {} {} expected", name,
              dtype_name(tensor.dtype), to_string(tensor.shape), dtype_name(dtype),
              to_string(shape));
}

void expect_if_present(const Tensor& tensor, DType dtype, const Shape& shape, const char* name) {
  if (tensor.present()) expect(tensor, dtype, shape, name);
}

}  // namespace pivot
