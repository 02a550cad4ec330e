#pragma once
/// Launches on the emulated device.

#include "tests/simt/engine.h"

namespace pivot::simt {

/// Runs the grid, or adds it to the graph that is being recorded. `kernel` is the kernel's address:
/// above kFreeShared it needs to have been allowed grid.shared_bytes (cudaFuncSetAttribute).
void launch(const void* kernel, Grid grid);

}  // namespace pivot::simt
