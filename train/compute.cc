#include "train/compute.h"

#include "src/base/check.h"
#include "src/core/cuda.h"
#include "train/machine.h"

namespace pivot {
namespace {

constexpr size_t kGib = size_t{1} << 30;
constexpr size_t kAbsentGpu = size_t{80} * 1000 * 1000 * 1000;
// Context and kernels of an H100 took 0.6 GiB, cuBLASLt and cuDNN with their workspaces about the
// same; rounded up.
constexpr size_t kCudaLibraries = 3 * kGib / 2;

DType named_dtype(const TrainOptions& o, Device::Kind kind) {
  if (o.dtype == "auto") return kind == Device::Kind::Cuda ? DType::BF16 : DType::F32;
  if (o.dtype == "f32") return DType::F32;
  if (o.dtype != "bf16") throw_user("dtype '{}' is not known: auto, f32 or bf16", o.dtype);
  if (kind == Device::Kind::Cpu) {
    throw_user("dtype=bf16 needs a GPU: the CPU kernels compute in f32");
  }
  return DType::BF16;
}

DType dtype_of(const TrainOptions& o, Device::Kind kind) {
  const DType dtype = named_dtype(o, kind);
  validate_dtype(o.model, dtype);
  return dtype;
}

GradientOrder order_of(const TrainOptions& options) {
  return options.deterministic ? GradientOrder::Fixed : GradientOrder::Any;
}

}  // namespace

Compute compute_of(const TrainOptions& options) {
  const Device device = parse_device(options.device);
  return {device, dtype_of(options, device.kind), order_of(options)};
}

Compute planned_compute(const TrainOptions& options) {
  const bool named_gpu = options.device.substr(0, 4) == "cuda";
  const Device device = named_gpu ? Device{Device::Kind::Cuda} : parse_device(options.device);
  return {plan_device(device), dtype_of(options, device.kind), order_of(options)};
}

ComputeMemory compute_memory(const Compute& compute) {
  if (compute.device.target() == Device::Kind::Cpu) {
    const MachineMemory m = machine_memory();
    return {m.total, m.available};
  }
  if (cuda::device_count() <= compute.device.index) return {kAbsentGpu, kAbsentGpu};
  const cuda::DeviceInfo info = cuda::device_info(compute.device.index);
  return {info.memory, info.memory_free};
}

std::string device_name(const Compute& compute) {
  const Device device = compute.device;
  if (device.target() != Device::Kind::Cuda || cuda::device_count() <= device.index) return "";
  return cuda::device_info(device.index).name;
}

size_t library_bytes(const Compute& compute) {
  return compute.device.target() == Device::Kind::Cuda ? kCudaLibraries : 0;
}

}  // namespace pivot
