#pragma once
/// The tests every op gets from its NAME_ref.h (kernels/reference.h says what that provides).
/// check_op is for CPU twins, check_cuda_op for CUDA twins, in F32 and in BF16.

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "kernels/op.h"
#include "kernels/reference.h"
#include "tests/support/catch.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/test_context.h"

namespace pivot::test {

using Buffers = std::map<std::string, GuardedBuffer>;

inline constexpr Device kCpu{Device::Kind::Cpu, 0};
inline constexpr Device kCuda{Device::Kind::Cuda, 0};

inline void write_values(GuardedBuffer& buffer, DType dtype, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    std::byte* at = buffer.data() + i * dtype_bytes(dtype);
    const auto f = static_cast<float>(values[i]);
    const auto i32 = static_cast<int32_t>(values[i]);
    const auto i64 = static_cast<int64_t>(values[i]);
    const BFloat16 bf16 = to_bfloat16(f);
    if (dtype == DType::F32) std::memcpy(at, &f, sizeof(f));
    if (dtype == DType::BF16) std::memcpy(at, &bf16, sizeof(bf16));
    if (dtype == DType::I32) std::memcpy(at, &i32, sizeof(i32));
    if (dtype == DType::I64) std::memcpy(at, &i64, sizeof(i64));
  }
}

/// Inputs and accumulated outputs filled, pure outputs NaN.
inline Buffers make_buffers(const std::vector<ref::Operand>& operands,
                            const ref::ValueMap<double>& values) {
  Buffers buffers;
  for (const ref::Operand& operand : operands) {
    GuardedBuffer& buffer =
        buffers.emplace(operand.name, GuardedBuffer(operand.dtype, operand.shape)).first->second;
    if (operand.role != ref::Role::Out) {
      write_values(buffer, operand.dtype, values.at(operand.name));
    }
  }
  return buffers;
}

inline ref::TensorMap tensors_of(Buffers& buffers) {
  ref::TensorMap tensors;
  for (auto& [name, buffer] : buffers) tensors[name] = buffer.tensor();
  return tensors;
}

/// In fp64: what adjust() computed (a forward's results for its backward) is not rounded.
template <class Ref>
ref::ValueMap<double> exact_values(const ref::OpCase& c) {
  ref::ValueMap<double> values = ref::random_values(c, Ref::operands(c));
  Ref::adjust(c, values);
  return values;
}

/// `x` as a tensor of this type holds it.
inline double representable(double x, DType dtype) {
  const auto f = static_cast<float>(x);
  if (dtype == DType::F32) return f;
  return dtype == DType::BF16 ? to_float(to_bfloat16(f)) : x;
}

/// As the op sees them: all representable.
template <class Ref>
ref::ValueMap<double> case_values(const ref::OpCase& c) {
  ref::ValueMap<double> values = exact_values<Ref>(c);
  for (const ref::Operand& o : Ref::operands(c)) {
    for (double& v : values.at(o.name)) v = representable(v, o.dtype);
  }
  return values;
}

inline ref::ValueMap<ref::Enclosed> enclosed(const ref::ValueMap<double>& values) {
  ref::ValueMap<ref::Enclosed> result;
  for (const auto& [name, v] : values) {
    for (const double x : v) result[name].emplace_back(x);
    result[name];
  }
  return result;
}

/// Buffers as they are on the context's device, guards included.
class DeviceCopies {
 public:
  DeviceCopies(Buffers& buffers, Context& ctx) : buffers_(buffers), ctx_(ctx) {
    for (auto& [name, buffer] : buffers_) {
      memory_.emplace_back(ctx.device, buffer.memory().size());
      copy_from_host(whole(memory_.back()), buffer.memory().data(), ctx);
      const Tensor host = buffer.tensor();
      auto* const data = static_cast<std::byte*>(memory_.back().data()) + GuardedBuffer::kGuard;
      tensors[name] = {data, host.dtype, host.shape};
    }
  }
  /// Back into the buffers.
  void fetch() {
    size_t i = 0;
    for (auto& [name, buffer] : buffers_) {
      copy_to_host(buffer.memory().data(), whole(memory_[i++]), ctx_);
    }
  }
  ref::TensorMap tensors;

 private:
  static Tensor whole(const DeviceBuffer& memory) {
    return view(static_cast<uint8_t*>(memory.data()), {static_cast<int64_t>(memory.bytes())});
  }
  Buffers& buffers_;
  Context& ctx_;
  std::deque<DeviceBuffer> memory_;
};

/// The scratch memory that a case declares for a device.
template <class Ref>
size_t planned_scratch(const ref::OpCase& c, Device device, int threads) {
  ref::TensorMap shapes;
  for (const ref::Operand& o : Ref::operands(c)) shapes[o.name] = {nullptr, o.dtype, o.shape};
  TestContext plan(0, threads, plan_device(device));
  Ref::call(c, shapes, plan);
  if (c.dims.n > 0) CHECK(plan.ledger.total.bytes > 0);
  return plan.arena.peak();
}

/// Runs the op on the CPU; the caller's buffers receive the results.
template <class Ref>
void run_twin(const ref::OpCase& c, Buffers& buffers, int threads) {
  TestContext context(size_t{1} << 26, threads);
  Ref::call(c, tensors_of(buffers), context);
}

/// The same on the GPU, with scratch memory that holds NaN, of exactly the declared size, all of
/// which it has to take.
template <class Ref>
void run_cuda_twin(const ref::OpCase& c, Buffers& buffers) {
  const size_t scratch = planned_scratch<Ref>(c, kCuda, 1);
  TestContext context(scratch, 1, kCuda);
  const Tensor all{
      context.arena.tensor(DType::U8, {0}).data, DType::U8, {static_cast<int64_t>(scratch)}};
  copy_from_host(all, std::vector<uint8_t>(scratch, 0xFF).data(), context);
  DeviceCopies copies(buffers, context);
  Ref::call(c, copies.tensors, context);
  copies.fetch();
  CHECK(context.arena.peak() == scratch);
  CHECK(context.arena.used() == 0);
}

/// A reference whose call() runs a CUDA twin that is named: builds without CUDA know none, but can
/// emulate them.
template <class Ref, auto Twin>
struct OnCuda : Ref {
  static void call(const ref::OpCase& c, const ref::TensorMap& t, Context& ctx) {
    const auto args = Ref::args(c, t);
    const Op<std::remove_const_t<decltype(args)>> op{Ref::kName, nullptr, Twin};
    op(args, ctx);
  }
};

/// The elements as floats; F32 or BF16.
inline std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.count()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        tensor.dtype == DType::BF16 ? to_float(tensor.as<BFloat16>()[i]) : tensor.as<float>()[i];
  }
  return values;
}

/// What compare() wants for a result that is rounded to bf16 where it is stored. Rounding is
/// monotone: results lie between the rounded ends of the interval of fp32 results, which is twice
/// the reference's, as compare() has it; that is halved here because compare() doubles again.
inline ref::Enclosed stored_as_bf16(const ref::Enclosed& want) {
  if (std::isnan(want.v)) return want;
  const auto end = [&](double single) {
    const double doubled = std::isinf(single) ? single : want.v + 2 * (single - want.v);
    return representable(doubled, DType::BF16);
  };
  const double v = representable(want.v, DType::BF16);
  const auto half = [&](double x) { return std::isinf(x) || std::isinf(v) ? x : v + (x - v) / 2; };
  return {v, half(end(want.lo)), half(end(want.hi))};
}

inline Comparison compare_stored(const ref::Operand& operand, const Tensor& got,
                                 std::vector<ref::Enclosed> want) {
  if (operand.dtype == DType::BF16) {
    for (ref::Enclosed& w : want) w = stored_as_bf16(w);
  }
  return compare(operand.name, operand.shape, floats_of(got).data(), want);
}

/// A twin against the reference within derived bounds; guards intact; inputs unchanged.
template <class Ref>
void check_against_reference(const ref::OpCase& c, Device device = kCpu) {
  const std::vector<ref::Operand> operands = Ref::operands(c);
  const ref::ValueMap<double> values = case_values<Ref>(c);
  ref::ValueMap<ref::Enclosed> want = enclosed(values);
  Ref::run(c, want);
  Buffers buffers = make_buffers(operands, values);
  Buffers before = make_buffers(operands, values);
  if (device.is_cuda()) {
    run_cuda_twin<Ref>(c, buffers);
  } else {
    run_twin<Ref>(c, buffers, 2);
  }
  for (const ref::Operand& operand : operands) {
    GuardedBuffer& buffer = buffers.at(operand.name);
    INFO(operand.name);
    CHECK(buffer.intact());
    if (operand.role == ref::Role::In) {
      CHECK(std::equal(buffer.data(), buffer.data() + buffer.bytes(),
                       before.at(operand.name).data()));
      continue;
    }
    const Comparison result = compare_stored(operand, buffer.tensor(), want.at(operand.name));
    INFO(result.message);
    CHECK(result.ok);
    // Rounding an end of the interval to bf16 moves it by up to an ulp, 2^-7.
    const double widest = operand.dtype == DType::BF16 ? 1e-2 + 0x1p-7 : 1e-2;
    if (c.values == ref::Values::Normal) CHECK(result.widest < widest);
  }
}

template <class Ref>
void check_thread_counts(const ref::OpCase& c) {
  const std::vector<ref::Operand> operands = Ref::operands(c);
  const ref::ValueMap<double> values = case_values<Ref>(c);
  Buffers one = make_buffers(operands, values);
  run_twin<Ref>(c, one, 1);
  for (const int threads : {2, 3}) {
    Buffers many = make_buffers(operands, values);
    run_twin<Ref>(c, many, threads);
    for (const ref::Operand& operand : operands) {
      INFO(operand.name << " with " << threads << " threads");
      GuardedBuffer& a = one.at(operand.name);
      CHECK(std::equal(a.data(), a.data() + a.bytes(), many.at(operand.name).data()));
    }
  }
}

/// Two runs of a CUDA twin give the same bits.
template <class Ref>
void check_repeats(const ref::OpCase& c) {
  const ref::ValueMap<double> values = case_values<Ref>(c);
  Buffers first = make_buffers(Ref::operands(c), values);
  Buffers second = make_buffers(Ref::operands(c), values);
  run_cuda_twin<Ref>(c, first);
  run_cuda_twin<Ref>(c, second);
  for (auto& [name, buffer] : first) {
    INFO(name);
    CHECK(buffer.memory() == second.at(name).memory());
  }
}

/// The plan device runs check, cost and the scratch declaration: the CPU run must not need more.
template <class Ref>
void check_plan(const ref::OpCase& c) {
  Buffers buffers = make_buffers(Ref::operands(c), case_values<Ref>(c));
  TestContext cpu(size_t{1} << 26, 2);
  Ref::call(c, tensors_of(buffers), cpu);
  CHECK(cpu.arena.peak() <= planned_scratch<Ref>(c, kCpu, 2));
  CHECK(cpu.arena.used() == 0);
}

/// Every operand with one more element in its last dimension, or of another dtype, is refused;
/// `any_length` names an operand whose length is free.
template <class Ref>
void check_rejects(const ref::OpCase& c, const std::string& any_length) {
  ref::TensorMap good;
  for (const ref::Operand& o : Ref::operands(c)) good[o.name] = {nullptr, o.dtype, o.shape};
  TestContext plan(0, 1, {Device::Kind::Plan, 0});
  REQUIRE_NOTHROW(Ref::call(c, good, plan));
  for (const auto& [name, tensor] : good) {
    INFO(name);
    ref::TensorMap bad = good;
    ++bad[name].shape.dim[static_cast<size_t>(tensor.shape.rank - 1)];
    if (name != any_length) CHECK_THROWS_AS(Ref::call(c, bad, plan), BugError);
    bad = good;
    bad[name].dtype = DType::U8;
    CHECK_THROWS_AS(Ref::call(c, bad, plan), BugError);
  }
}

template <class Ref>
void check_op(const std::string& any_length = "") {
  for (const ref::OpCase& c : Ref::cases()) {
    INFO(Ref::kName << ", case " << c.name);
    check_against_reference<Ref>(c);
    check_thread_counts<Ref>(c);
    check_plan<Ref>(c);
  }
  check_rejects<Ref>(Ref::cases().front(), any_length);
}

/// One case of an op's CUDA twin, with activations and weights of both types.
template <class Ref>
void check_cuda_case(ref::OpCase c) {
  for (const DType real : {DType::F32, DType::BF16}) {
    c.real = real;
    INFO(Ref::kName << ", case " << c.name << ", " << dtype_name(real));
    check_against_reference<Ref>(c, kCuda);
    check_repeats<Ref>(c);
  }
}

/// All cases of an op's CUDA twin.
template <class Ref>
void check_cuda_op() {
  for (const ref::OpCase& c : Ref::cases()) check_cuda_case<Ref>(c);
}

/// Backward's "dX" against central differences of sum(w * output) over Forward's input X, w = "d" +
/// output. Accumulated gradients start from random values, which the check subtracts.
template <class Backward>
void check_gradients() {
  using Forward = typename Backward::Forward;
  for (const ref::OpCase& c : Backward::cases()) {
    if (c.values == ref::Values::Large || c.dims.n == 0)
      continue;  // steps would leave the smooth part
    INFO(Backward::kName << ", case " << c.name);
    const ref::ValueMap<double> before = exact_values<Backward>(c);
    size_t elements = 0;
    for (const auto& [name, v] : before) elements += v.size();
    const size_t samples = elements < 5000 ? 48 : 4;
    ref::ValueMap<double> after = before;
    Backward::run(c, after);
    for (const ref::Operand& input : Forward::operands(c)) {
      const auto found = after.find("d" + input.name);
      if (input.role != ref::Role::In || found == after.end()) continue;
      std::vector<double> gradient = found->second;
      for (const ref::Operand& o : Backward::operands(c)) {
        if (o.name != found->first || o.role != ref::Role::InOut) continue;
        for (size_t i = 0; i < gradient.size(); ++i) gradient[i] -= before.at(o.name)[i];
      }
      const auto loss = [&](const std::vector<double>& x) {
        ref::ValueMap<double> t = before;
        for (const ref::Operand& o : Forward::operands(c)) {
          t[o.name].resize(static_cast<size_t>(o.shape.count()));
        }
        t[input.name] = x;
        Forward::run(c, t);
        double total = 0;
        for (const ref::Operand& o : Forward::operands(c)) {
          const auto weight = before.find("d" + o.name);
          if (o.role == ref::Role::In || weight == before.end()) continue;
          for (size_t i = 0; i < t[o.name].size(); ++i) total += weight->second[i] * t[o.name][i];
        }
        return total;
      };
      const GradientCheck result =
          check_gradient(input.name, before.at(input.name), gradient, loss, samples);
      INFO(result.message);
      CHECK(result.ok);
    }
  }
}

}  // namespace pivot::test
