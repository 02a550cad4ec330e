// What the emulator must not let pass. (GPUs do not notice most of these.)
#include "tests/simt/faults.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "tests/simt/engine.h"
#include "tests/support/cuda_context.h"

namespace pivot {
namespace {

using simt_fault::Mistake;
using test::CudaBuffer;
using test::CudaTestContext;

std::string message_of(Mistake mistake) {
  CudaTestContext cuda;
  const CudaBuffer memory(cuda, DType::F32, {1024});
  try {
    simt_fault::make(mistake, memory, cuda);
  } catch (const simt::Fault& fault) {
    return fault.what();
  }
  return "nothing was noticed";
}

TEST_CASE("simt: every mistake is found and named") {
  const auto [mistake, text] = GENERATE(table<Mistake, std::string>({
      {Mistake::WarpWaitsForOthersAtBarrier,
       "deadlock in block (0, 0, 0): 32 threads have ended; 1 wait in __syncthreads (faults.cu:"},
      {Mistake::TwoBarriers, "waits at __syncthreads() while"},
      {Mistake::LaneOutsideItsMask, "the mask 0000ffff misses lane"},
      {Mistake::TwoInstructions, "other lanes of the mask ffffffff wait in __"},
      {Mistake::ShuffleFromOutsideTheMask, "a shuffle from a lane that is not there"},
      {Mistake::ShuffleFromAnEndedLane, "a shuffle from a lane that is not there"},
      {Mistake::MmaWithoutAllLanes, "lanes of the warp have ended"},
      {Mistake::MatrixRowMisaligned, "an address that is not a multiple of 16"},
      {Mistake::MatrixRowOutsideSharedMemory, "an address outside the block's shared memory"},
      {Mistake::WriteBehindSharedMemory, "wrote outside its 512 bytes of dynamic shared memory"},
      {Mistake::WriteBeforeSharedMemory, "wrote outside its 512 bytes of dynamic shared memory"},
      {Mistake::CopyNotAwaited, "ended with copies to shared memory under way"},
      {Mistake::CopyMisaligned, "from an address that is not a multiple of 16"},
      {Mistake::VectorMisaligned, "an access that is not aligned to 16 bytes"},
      {Mistake::ArrayIndex, "an index outside its array"},
      {Mistake::Shift, "a shift by more than the type's bits"},
      {Mistake::Overflow, "an overflow of signed integers"},
      {Mistake::Trap, "thread (5, 0, 0) of block (0, 0, 0)"},
      {Mistake::TooManyThreads, "too many threads"},
      {Mistake::NoBlocks, "no blocks"},
      {Mistake::SharedMemoryNotAllowed,
       "asks for 49153 bytes of shared memory and is allowed 49152"},
  }));
  CHECK_THAT(message_of(mistake), ContainsSubstring(text));
}

TEST_CASE("simt: a missing barrier shows") {
  CudaTestContext cuda;
  std::vector<float> v(256);
  std::iota(v.begin(), v.end(), 1.0F);
  const CudaBuffer in(cuda, {256}, v);
  const CudaBuffer out(cuda, DType::F32, {256});
  simt_fault::exchange_without_barrier(out, in, cuda);
  const auto got = out.download<float>();
  size_t wrong = 0;
  for (size_t i = 0; i < 256; ++i) wrong += got[i] != v[i ^ 1];
  CHECK(wrong > 64);
}

TEST_CASE("simt: what was not written, or not waited for, is NaN") {
  CudaTestContext cuda;
  const CudaBuffer in(cuda, {4}, std::vector<float>(4, 2.0F));
  for (int launch = 0; launch < 2; ++launch) {  // the second must not see the first's
    const CudaBuffer out(cuda, DType::F32, {4});
    simt_fault::read_too_early(out, in, cuda);
    const auto got = out.download<float>();
    CHECK(std::isnan(got[0]));
    CHECK(std::isnan(got[1]));
    CHECK(std::isnan(got[2]));
    CHECK(got[3] == 2.0F);
  }
}

TEST_CASE("simt: blocks run in an order of their own") {
  CudaTestContext cuda;
  const CudaBuffer out(cuda, DType::I32, {64});
  const CudaBuffer ticket(cuda, {1}, std::vector<int32_t>{0});
  simt_fault::order_of_blocks(out, ticket, cuda);
  auto order = out.download<int32_t>();
  CHECK(!std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int32_t b = 0; b < 64; ++b) CHECK(order[static_cast<size_t>(b)] == b);
}

TEST_CASE("simt: a graph records launches and nothing else") {
  CudaTestContext cuda;
  const CudaBuffer out(cuda, DType::I32, {64});
  const CudaBuffer ticket(cuda, {1}, std::vector<int32_t>{0});
  cuda::Graph graph;
  graph.record(0, [&] { simt_fault::order_of_blocks(out, ticket, cuda); });
  CHECK(ticket.download<int32_t>()[0] == 0);
  graph.launch();
  CHECK(ticket.download<int32_t>()[0] == 64);
  CHECK_THROWS_AS(graph.record(0, [&] { CudaBuffer(cuda, DType::I32, {1}); }), simt::Fault);
  CHECK_THROWS_AS(graph.record(0, [&] { ticket.download<int32_t>(); }), simt::Fault);
  CHECK_FALSE(cuda::recording(0));
}

}  // namespace
}  // namespace pivot
