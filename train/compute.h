#pragma once
/// What a run computes on, with which type, and how much memory is there.

#include <cstddef>
#include <string>

#include "kernels/attention/attention.h"
#include "src/core/device.h"
#include "src/core/dtype.h"
#include "train/options.h"

namespace pivot {

struct Compute {
  Device device;
  DType dtype = DType::F32;  // of weights and activations in the passes
  GradientOrder order = GradientOrder::Fixed;
};

/// The device and dtype of the options. Throws UserError where the device is not there or does not
/// compute in that type.
Compute compute_of(const TrainOptions& options);

/// The same to plan for: the plan device of the options' device, which need not exist here.
Compute planned_compute(const TrainOptions& options);

struct ComputeMemory {
  size_t total = 0;
  size_t available = 0;  // now
};
/// Of the machine (train/machine.h) or of the GPU; of a GPU that is not here a common size,
/// 80 GB.
ComputeMemory compute_memory(const Compute& compute);

/// "NVIDIA H100 80GB HBM3"; "" for the CPU and for a GPU that is not here.
std::string device_name(const Compute& compute);

/// Held on a GPU besides the run's tensors: the CUDA context, kernels, library handles and their
/// workspaces. 0 on the CPU.
size_t library_bytes(const Compute& compute);

}  // namespace pivot
