#pragma once
/// Reference of the token embedding.

#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sorted_rows.h"
#include "kernels/reference.h"

namespace pivot::ref {

struct EmbeddingForwardRef {
  static constexpr const char* kName = "embedding_forward";

  static std::vector<OpCase> cases() {
    // More rows than vocabulary: tokens repeat, and backward adds to one row many times.
    return standard_cases({{"odd", {.n = 11, .c = 7, .v = 5}},
                           {"one row", {.n = 1, .c = 64, .v = 3}},
                           {"one token", {.n = 40, .c = 5, .v = 1}},
                           {"many columns", {.n = 301, .c = 201, .v = 17}},
                           {"empty", {.n = 0, .c = 8, .v = 4}}});
  }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"y", Role::Out, {c.dims.n, c.dims.c}, c.real},
            {"table", Role::In, {c.dims.v, c.dims.c}, c.real},
            {"tokens", Role::In, {c.dims.n}, DType::I32}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    fill_integers(t["tokens"], c.dims.v, 0);
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    for (int64_t n = 0; n < c.dims.n; ++n) {
      const int64_t token = integer(t["tokens"][n]);
      for (int64_t i = 0; i < c.dims.c; ++i) {
        t["y"][n * c.dims.c + i] = t["table"][token * c.dims.c + i];
      }
    }
  }
  static EmbeddingForward args(const OpCase&, const TensorMap& t) {
    return {.y = t.at("y"), .table = t.at("table"), .tokens = t.at("tokens")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    embedding_forward(args(c, t), ctx);
  }
};

struct EmbeddingBackwardRef {
  static constexpr const char* kName = "embedding_backward";
  using Forward = EmbeddingForwardRef;

  static std::vector<OpCase> cases() { return Forward::cases(); }
  static std::vector<Operand> operands(const OpCase& c) {
    return {{"dtable", Role::InOut, {c.dims.v, c.dims.c}},
            {"dy", Role::In, {c.dims.n, c.dims.c}, c.real},
            {"tokens", Role::In, {c.dims.n}, DType::I32}};
  }
  static void adjust(const OpCase& c, ValueMap<double>& t) {
    Forward::adjust(c, t);
    t["table"].resize(t["dtable"].size());
  }

  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    for (int64_t n = 0; n < c.dims.n; ++n) {
      const int64_t token = integer(t["tokens"][n]);
      for (int64_t i = 0; i < c.dims.c; ++i) {
        S& sum = t["dtable"][token * c.dims.c + i];
        sum = sum + t["dy"][n * c.dims.c + i];
      }
    }
  }
  static EmbeddingBackward args(const OpCase&, const TensorMap& t) {
    return {.dtable = t.at("dtable"), .dy = t.at("dy"), .tokens = t.at("tokens")};
  }
  static void call(const OpCase& c, const TensorMap& t, Context& ctx) {
    embedding_backward(args(c, t), ctx);
  }
};

/// The same sums in the order of the CUDA twin.
struct EmbeddingBackwardInChunksRef : EmbeddingBackwardRef {
  template <class S>
  static void run(const OpCase& c, ValueMap<S>& t) {
    std::map<int64_t, std::vector<int64_t>> rows_of;
    for (int64_t n = 0; n < c.dims.n; ++n) rows_of[integer(t["tokens"][n])].push_back(n);
    for (const auto& [token, rows] : rows_of) {
      for (size_t begin = 0; begin < rows.size(); begin += kChunkRows) {
        const size_t end = std::min<size_t>(rows.size(), begin + kChunkRows);
        for (int64_t i = 0; i < c.dims.c; ++i) {
          S chunk = t["dy"][rows[begin] * c.dims.c + i];
          for (size_t r = begin + 1; r < end; ++r) chunk = chunk + t["dy"][rows[r] * c.dims.c + i];
          S& sum = t["dtable"][token * c.dims.c + i];
          sum = sum + chunk;
        }
      }
    }
  }
};

}  // namespace pivot::ref
