#pragma once
/// Kernels with one mistake each, which the emulator has to find.

#include "src/core/context.h"

namespace pivot::simt_fault {

enum class Mistake {
  WarpWaitsForOthersAtBarrier,
  TwoBarriers,
  LaneOutsideItsMask,
  TwoInstructions,
  ShuffleFromOutsideTheMask,
  ShuffleFromAnEndedLane,
  MmaWithoutAllLanes,
  MatrixRowMisaligned,
  MatrixRowOutsideSharedMemory,
  WriteBehindSharedMemory,
  WriteBeforeSharedMemory,
  CopyNotAwaited,
  CopyMisaligned,
  VectorMisaligned,
  ArrayIndex,
  Shift,
  Overflow,
  Trap,
  TooManyThreads,
  NoBlocks,
  SharedMemoryNotAllowed,
};

/// `memory` has 1024 elements, F32.
void make(Mistake mistake, const Tensor& memory, Context& ctx);

/// out (256) F32 = in, each from its neighbour through shared memory without a barrier between.
void exchange_without_barrier(const Tensor& out, const Tensor& in, Context& ctx);
/// out (4) F32: shared memory that was never written, dynamic and static; what an asynchronous copy
/// has brought before and after it was waited for.
void read_too_early(const Tensor& out, const Tensor& in, Context& ctx);
/// out (64) I32: the blocks in the order in which they ran; `ticket` (1) I32 counts.
void order_of_blocks(const Tensor& out, const Tensor& ticket, Context& ctx);

}  // namespace pivot::simt_fault
