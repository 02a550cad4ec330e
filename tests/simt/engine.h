#pragma once
/// Runs the blocks of a CUDA grid on the CPU, one after the other, every thread of a block as a
/// fiber that runs until it has to wait for others. docs/simt.md says what is checked.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace pivot::simt {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

inline constexpr int kWarp = 32;
inline constexpr uint32_t kAllLanes = 0xFFFFFFFFU;
inline constexpr unsigned kMaxThreads = 1024;     // of a block
inline constexpr size_t kMaxShared = 227 * 1024;  // bytes a block may ask for on sm_90
inline constexpr size_t kFreeShared = 48 * 1024;  // bytes it gets without asking
inline constexpr int kMultiprocessors = 4;        // what the device claims to have

/// A mistake of a kernel or its launch: the test that ran it fails.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where a kernel called a device function, for messages.
using Place = std::source_location;

struct Grid {
  Dim blocks;
  Dim threads;
  size_t shared_bytes = 0;       // dynamic
  std::function<void()> kernel;  // what a thread does
};

/// Runs all blocks, in an order and with threads interleaved that differ between launches and are
/// the same in every run of the program. Throws Fault, or what the kernel throws.
void run(const Grid& grid);

// What follows is called by kernels.

struct ThreadPosition {
  Dim thread, block, block_size, grid_size;
};
/// Of the running thread.
extern ThreadPosition position;

int lane();
/// The block's dynamic shared memory and its size.
uint8_t* dynamic_shared();
size_t dynamic_shared_bytes();

/// All threads of the block that have not ended wait here for each other.
void barrier(Place place);
/// `threads` threads (a multiple of 32) of the block wait for each other at barrier `id` (1 to 15).
void named_barrier(int id, unsigned threads, Place place);
/// Lets other threads run.
void yield();

/// What the lanes of one warp instruction brought along.
struct Meeting {
  const char* operation;
  Place place;           // of the first to come
  uint32_t lanes;        // bit l: lane l takes part
  void* operand[kWarp];  // of these lanes
};
/// Waits until all lanes of `mask` have called this with the same mask and operation (lanes that
/// have ended are not waited for); then `perform` runs once.
void meet(uint32_t mask, const char* operation, void* operand, void (*perform)(const Meeting&),
          Place place);

/// A copy to shared memory that is under way until a wait covers its group.
struct AsyncCopy {
  uint8_t* to;
  const uint8_t* from;  // null: zeros
  size_t bytes;
};
void begin_copy(const AsyncCopy& copy);
void commit_copies();
void wait_for_copies(int groups_still_under_way);

/// Ends the grid with a Fault that names the running thread and the place.
[[noreturn]] void fault(std::string what, Place place);
[[noreturn]] void fault(std::string what, const char* file, unsigned line);

}  // namespace pivot::simt
