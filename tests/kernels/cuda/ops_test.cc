/// CUDA twins of the basic ops against their references, in F32 and BF16: the cases of the CPU
/// twins and shapes that take the paths which only the CUDA twins have.

#include <limits>

#include "kernels/adamw/adamw_ref.h"
#include "kernels/embedding/embedding_ref.h"
#include "kernels/embedding/sorted_rows.h"
#include "kernels/qk_norm/qk_norm_ref.h"
#include "kernels/reduce/reduce_ref.h"
#include "kernels/rmsnorm/rmsnorm_ref.h"
#include "kernels/rope/rope_ref.h"
#include "kernels/swiglu/swiglu_ref.h"
#include "kernels/update_gate/update_gate_ref.h"
#include "tests/kernels/op_harness.h"

namespace pivot::test {
namespace {

using RmsNormForward = OnCuda<ref::RmsNormForwardRef, &rmsnorm_forward_cuda>;
using RmsNormBackward = OnCuda<ref::RmsNormBackwardRef, &rmsnorm_backward_cuda>;
using EmbeddingForward = OnCuda<ref::EmbeddingForwardRef, &embedding_forward_cuda>;
using EmbeddingBackward = OnCuda<ref::EmbeddingBackwardInChunksRef, &embedding_backward_cuda>;
using QkNormForward = OnCuda<ref::QkNormForwardRef, &qk_norm_forward_cuda>;
using QkNormBackward = OnCuda<ref::QkNormBackwardRef, &qk_norm_backward_cuda>;
using RopeForward = OnCuda<ref::RopeRef<RopeDirection::Forward>, &rope_cuda>;
using RopeBackward = OnCuda<ref::RopeRef<RopeDirection::Backward>, &rope_cuda>;
using SwigluForward = OnCuda<ref::SwigluForwardRef, &swiglu_forward_cuda>;
using SwigluBackward = OnCuda<ref::SwigluBackwardRef, &swiglu_backward_cuda>;
using AdamWUpdate = OnCuda<ref::AdamWRef, &adamw_cuda>;
using SquareSum = OnCuda<ref::SumSquaresRef, &sum_squares_cuda>;
using Gate = OnCuda<ref::UpdateGateRef, &update_gate_cuda>;

/// The results of one run.
template <class Ref>
Buffers results(const ref::OpCase& c, const ref::ValueMap<double>& values) {
  Buffers buffers = make_buffers(Ref::operands(c), values);
  run_cuda_twin<Ref>(c, buffers);
  return buffers;
}

ref::OpCase with_real(ref::OpCase c, DType real) {
  c.real = real;
  return c;
}

}  // namespace

TEST_CASE("cuda rmsnorm", "[sanitize]") {
  check_cuda_op<RmsNormForward>();
  check_cuda_op<RmsNormBackward>();
  // Rows of several packs a lane; rows that share a block, that need more warps, that are too wide
  // for registers; more rows than row blocks.
  for (const ref::Dims& dims :
       {ref::Dims{.n = 9, .c = 768}, ref::Dims{.n = 3, .c = 2048}, ref::Dims{.n = 2, .c = 4096},
        ref::Dims{.n = 2, .c = 9000}, ref::Dims{.n = 1301, .c = 16}}) {
    const ref::OpCase c{fmt::format("{} x {}", dims.n, dims.c), dims};
    check_cuda_case<RmsNormForward>(c);
    check_cuda_case<RmsNormBackward>(c);
  }
}

TEST_CASE("cuda embedding") {
  check_cuda_op<EmbeddingForward>();
  check_cuda_op<EmbeddingBackward>();
  // Runs of one chunk, of whole chunks and of one row more; several slabs of channels; several
  // tiles of keys.
  for (const ref::Dims& dims :
       {ref::Dims{.n = kChunkRows, .c = 8, .v = 1}, ref::Dims{.n = 2 * kChunkRows, .c = 8, .v = 1},
        ref::Dims{.n = 2 * kChunkRows + 1, .c = 8, .v = 1}, ref::Dims{.n = 300, .c = 1040, .v = 3},
        ref::Dims{.n = 2 * kSortTile + 77, .c = 4, .v = 7},
        ref::Dims{.n = 3 * kSortTile, .c = 1, .v = 5000}}) {
    const ref::OpCase c{fmt::format("{} x {} of {}", dims.n, dims.c, dims.v), dims};
    check_cuda_case<EmbeddingForward>(c);
    check_cuda_case<EmbeddingBackward>(c);
  }
}

TEST_CASE("cuda embedding: more runs of keys than one merge takes", "[sanitize]") {
  const int64_t rows = 17 * kSortTile + 5;
  check_cuda_case<EmbeddingBackward>({"two merges", {.n = rows, .c = 1, .v = 40}});
}

TEST_CASE("cuda embedding: tokens outside the vocabulary") {
  const ref::OpCase c{"outside", {.n = 5, .c = 8, .v = 3}};
  for (const DType real : {DType::F32, DType::BF16}) {
    const ref::OpCase typed = with_real(c, real);
    ref::ValueMap<double> values = case_values<EmbeddingForward>(typed);
    values["tokens"] = {0, -1, 2, 3, std::numeric_limits<int32_t>::min()};
    Buffers out = results<EmbeddingForward>(typed, values);
    const std::vector<float> y = floats_of(out.at("y").tensor());
    for (size_t n = 0; n < 5; ++n) {
      const bool outside = n != 0 && n != 2;
      for (size_t i = 0; i < 8; ++i) CHECK(std::isnan(y[n * 8 + i]) == outside);
    }
    ref::ValueMap<double> gradients = case_values<EmbeddingBackward>(typed);
    gradients["tokens"] = values["tokens"];
    Buffers added = results<EmbeddingBackward>(typed, gradients);
    CHECK(added.at("dtable").intact());
    const std::vector<float> dtable = floats_of(added.at("dtable").tensor());
    for (size_t i = 0; i < 8; ++i) {
      CHECK(dtable[8 + i] == static_cast<float>(gradients["dtable"][8 + i]));
      CHECK(dtable[i] ==
            static_cast<float>(gradients["dtable"][i]) + static_cast<float>(gradients["dy"][i]));
    }
  }
}

TEST_CASE("cuda qk_norm", "[sanitize]") {
  check_cuda_op<QkNormForward>();
  check_cuda_op<QkNormBackward>();
  // Groups of one thread up to a warp, and wider heads; more rows than row blocks.
  for (const ref::Dims& dims :
       {ref::Dims{.n = 3, .h = 3, .g = 1, .d = 8}, ref::Dims{.n = 11, .h = 6, .g = 2, .d = 64},
        ref::Dims{.n = 5, .h = 5, .g = 5, .d = 128}, ref::Dims{.n = 2, .h = 2, .g = 1, .d = 320},
        ref::Dims{.n = 1100, .h = 2, .g = 1, .d = 16}}) {
    const ref::OpCase c{fmt::format("{} x ({} + 2 {}) x {}", dims.n, dims.h, dims.g, dims.d), dims};
    check_cuda_case<QkNormForward>(c);
    check_cuda_case<QkNormBackward>(c);
  }
}

TEST_CASE("cuda rope", "[sanitize]") {
  check_cuda_op<RopeForward>();
  check_cuda_op<RopeBackward>();
  check_cuda_case<RopeForward>({"packs", {.n = 9, .h = 6, .g = 2, .d = 64}});
  check_cuda_case<RopeBackward>({"packs", {.n = 9, .h = 6, .g = 2, .d = 64}});
}

TEST_CASE("cuda swiglu", "[sanitize]") {
  check_cuda_op<SwigluForward>();
  check_cuda_op<SwigluBackward>();
  check_cuda_case<SwigluForward>({"packs", {.n = 3, .f = 2056}});
  check_cuda_case<SwigluBackward>({"packs", {.n = 3, .f = 2056}});
  check_cuda_case<SwigluForward>({"more rows than a grid", {.n = 4099, .f = 1}});
}

TEST_CASE("cuda swiglu backward in place gives the same bits", "[sanitize]") {
  for (const int64_t width : {77, 80}) {
    for (const DType real : {DType::F32, DType::BF16}) {
      const ref::OpCase c = with_real({"in place", {.n = 4, .f = width}}, real);
      const ref::ValueMap<double> values = case_values<SwigluBackward>(c);
      Buffers apart = results<SwigluBackward>(c, values);
      Buffers together = make_buffers(SwigluBackward::operands(c), values);
      TestContext context(0, 1, kCuda);
      DeviceCopies copies(together, context);
      copies.tensors["dgate_up"] = copies.tensors["gate_up"];
      SwigluBackward::call(c, copies.tensors, context);
      copies.fetch();
      CHECK(together.at("gate_up").memory() == apart.at("dgate_up").memory());
    }
  }
}

TEST_CASE("cuda swiglu: memory that does not begin at 16 bytes gives the same bits", "[sanitize]") {
  for (const DType real : {DType::F32, DType::BF16}) {
    const ref::OpCase c = with_real({"shifted", {.n = 3, .f = 64}}, real);
    const ref::ValueMap<double> values = case_values<SwigluForward>(c);
    Buffers aligned = results<SwigluForward>(c, values);

    // The same tensors, one element into longer ones.
    Buffers longer;
    for (const ref::Operand& o : SwigluForward::operands(c)) {
      std::vector<double> shifted = values.at(o.name);
      shifted.insert(shifted.begin(), 0);
      GuardedBuffer buffer(o.dtype, {o.shape.count() + 1});
      if (o.role == ref::Role::In) write_values(buffer, o.dtype, shifted);
      longer.emplace(o.name, buffer);
    }
    TestContext context(0, 1, kCuda);
    DeviceCopies copies(longer, context);
    for (const ref::Operand& o : SwigluForward::operands(c)) {
      Tensor& tensor = copies.tensors[o.name];
      tensor = {static_cast<std::byte*>(tensor.data) + dtype_bytes(o.dtype), o.dtype, o.shape};
    }
    SwigluForward::call(c, copies.tensors, context);
    copies.fetch();
    CHECK(longer.at("y").intact());
    const std::vector<float> want = floats_of(aligned.at("y").tensor());
    const std::vector<float> got = floats_of(longer.at("y").tensor());
    CHECK(std::equal(want.begin(), want.end(), got.begin() + 1));
    CHECK(std::isnan(got.front()));
  }
}

TEST_CASE("cuda adamw", "[sanitize]") {
  check_cuda_op<AdamWUpdate>();
}

TEST_CASE("cuda adamw: an update that is not applied changes nothing", "[sanitize]") {
  const ref::OpCase c = with_real({"refused", {.p = 3001}}, DType::BF16);
  ref::ValueMap<double> values = case_values<AdamWUpdate>(c);
  values["scalars"].back() = 0;
  Buffers before = make_buffers(AdamWUpdate::operands(c), values);
  Buffers after = results<AdamWUpdate>(c, values);
  for (auto& [name, buffer] : after) CHECK(buffer.memory() == before.at(name).memory());
}

TEST_CASE("cuda sum_squares", "[sanitize]") {
  check_cuda_op<SquareSum>();
}

TEST_CASE("cuda update_gate", "[sanitize]") {
  check_cuda_op<Gate>();
}

}  // namespace pivot::test
