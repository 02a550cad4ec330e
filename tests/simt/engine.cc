#include "tests/simt/engine.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "tests/simt/fiber.h"
#include "tests/simt/memory.h"

namespace pivot::simt {

ThreadPosition position;

namespace {

constexpr int kBarriers = 16;

std::string text(const Dim& d) {
  return fmt::format("({}, {}, {})", d.x, d.y, d.z);
}

std::string text(const std::string& path, unsigned line) {
  return fmt::format("{}:{}", path.substr(path.rfind('/') + 1), line);
}
std::string text(const Place& place) {
  return text(place.file_name(), static_cast<unsigned>(place.line()));
}

bool same(const char* a, const char* b) {
  return a == b || std::strcmp(a, b) == 0;
}
bool same(const Place& a, const Place& b) {
  return a.line() == b.line() && same(a.file_name(), b.file_name());
}

uint64_t mix(uint64_t x) {  // SplitMix64
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

struct Thread {
  Fiber fiber;
  Dim index;
  bool ended = false;
  const char* operation = "";                  // it waits in
  Place place;                                 // of that
  std::vector<AsyncCopy> open;                 // not committed
  std::vector<std::vector<AsyncCopy>> groups;  // committed, oldest first
};

struct OpenMeeting {
  uint32_t mask = 0;
  Meeting meeting;
  void (*perform)(const Meeting&) = nullptr;
};

struct Warp {
  uint32_t ended = 0;  // lanes that have ended or were never there
  std::vector<OpenMeeting> open;
};

struct Barrier {
  unsigned threads = 0;  // it waits for; of barrier 0: all that have not ended
  std::vector<unsigned> waiting;
  Place place;
};

// The blocks of a grid, one after the other.
class Block {
 public:
  explicit Block(const Grid& grid);

  void run(Dim index, uint64_t seed);

  void enter();
  void record(const std::string& failure) { failure_ = std::make_exception_ptr(Fault(failure)); }
  [[noreturn]] void stop();
  void barrier(int id, unsigned count, Place place);
  void meet(uint32_t mask, const char* operation, void* operand, void (*perform)(const Meeting&),
            Place place);
  void yield();
  Thread& current() { return threads_[current_]; }
  unsigned current_index() const { return current_; }
  size_t shared_bytes() const { return grid_.shared_bytes; }
  std::string where(unsigned thread) const {
    return fmt::format("thread {} of block {}", text(threads_[thread].index), text(index_));
  }

 private:
  void begin(Dim index, uint64_t seed);
  unsigned pick_thread();
  void suspend(const char* operation, Place place);
  void release_barrier(Barrier& barrier);
  void complete(Warp& warp, size_t open);
  void end_thread();
  [[noreturn]] void deadlock() const;

  const Grid& grid_;
  StaticShared static_shared_;
  Dim index_;
  uint64_t random_ = 0;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::array<Barrier, kBarriers> barriers_;
  std::vector<unsigned> ready_;
  unsigned current_ = 0;
  unsigned alive_ = 0;
  Fiber scheduler_;
  std::exception_ptr failure_;
};

Block* running = nullptr;  // one at a time in the program

const Stacks& stacks() {
  static const Stacks all(kMaxThreads);
  return all;
}

void entry() {
  running->enter();
}

Block::Block(const Grid& grid) : grid_(grid) {
  const unsigned count = grid.threads.x * grid.threads.y * grid.threads.z;
  threads_.resize(count);
  warps_.resize((count + kWarp - 1) / kWarp);
}

void Block::begin(Dim index, uint64_t seed) {
  index_ = index;
  random_ = seed;
  const Dim size = grid_.threads;
  for (unsigned t = 0; t < threads_.size(); ++t) {
    Thread& thread = threads_[t];
    thread.index = {t % size.x, t / size.x % size.y, t / size.x / size.y};
    thread.fiber = stacks().fiber(t, &entry);
    thread.ended = false;
    thread.groups.clear();
    ready_.push_back(t);
  }
  alive_ = static_cast<unsigned>(threads_.size());
  for (Warp& warp : warps_) warp.ended = 0;
  if (alive_ % kWarp != 0) warps_.back().ended = kAllLanes << alive_ % kWarp;
  static_shared_.forget();
  prepare_shared_memory(grid_.shared_bytes);
  position = {{}, index, size, grid_.blocks};
}

unsigned Block::pick_thread() {
  random_ ^= random_ << 13;  // xorshift64
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const size_t pick = (random_ >> 32) * ready_.size() >> 32;
  const unsigned thread = ready_[pick];
  ready_[pick] = ready_.back();
  ready_.pop_back();
  return thread;
}

void Block::run(Dim index, uint64_t seed) {
  begin(index, seed);
  while (alive_ > 0) {
    if (ready_.empty()) deadlock();
    current_ = pick_thread();
    position.thread = current().index;
    switch_fiber(scheduler_, current().fiber);
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }
  if (!shared_memory_intact(grid_.shared_bytes)) {
    throw Fault(fmt::format("block {} wrote outside its {} bytes of dynamic shared memory",
                            text(index_), grid_.shared_bytes));
  }
}

// The life of a thread.
void Block::enter() {
  enter_fiber();
  try {
    grid_.kernel();
    end_thread();
  } catch (...) {
    failure_ = std::current_exception();
  }
  stop();
}

// The running thread does not go on, nor any other: their stacks are dropped, so nothing on them
// may need a destructor.
void Block::stop() {
  switch_fiber(current().fiber, scheduler_);
  std::abort();
}

void Block::end_thread() {
  Thread& thread = current();
  thread.ended = true;
  --alive_;
  const bool copies = std::any_of(thread.groups.begin(), thread.groups.end(),
                                  [](const auto& group) { return !group.empty(); });
  if (copies || !thread.open.empty()) {
    record(where(current_) + " ended with copies to shared memory under way");
    stop();
  }
  Warp& warp = warps_[current_ / kWarp];
  warp.ended |= 1U << current_ % kWarp;
  for (size_t i = warp.open.size(); i-- > 0;) {
    if ((warp.open[i].meeting.lanes | warp.ended) == (warp.open[i].mask | warp.ended)) {
      complete(warp, i);
    }
  }
  Barrier& all = barriers_[0];
  if (!all.waiting.empty() && all.waiting.size() == alive_) release_barrier(all);
}

void Block::suspend(const char* operation, Place place) {
  Thread& thread = current();
  thread.operation = operation;
  thread.place = place;
  switch_fiber(thread.fiber, scheduler_);
}

void Block::yield() {
  ready_.push_back(current_);
  suspend("", {});
}

void Block::release_barrier(Barrier& barrier) {
  for (const unsigned t : barrier.waiting) {
    if (t != current_ || threads_[t].ended) ready_.push_back(t);
  }
  barrier.waiting.clear();
}

void Block::barrier(int id, unsigned count, Place place) {
  Barrier& barrier = barriers_.at(static_cast<size_t>(id));
  const unsigned expected = id == 0 ? alive_ : count;
  if (barrier.waiting.empty()) {
    barrier.place = place;
    barrier.threads = expected;
  } else if (id == 0 && !same(barrier.place, place)) {
    std::string what = fmt::format("waits at __syncthreads() while {} waits at the one of {}",
                                   where(barrier.waiting.front()), text(barrier.place));
    fault(std::move(what), place);
  } else if (id != 0 && barrier.threads != expected) {
    fault("two counts of threads at one barrier", place);
  }
  barrier.waiting.push_back(current_);
  if (barrier.waiting.size() == expected) {
    release_barrier(barrier);
    return;
  }
  suspend(id == 0 ? "__syncthreads" : "a named barrier", place);
}

void Block::complete(Warp& warp, size_t open) {
  const OpenMeeting done = warp.open[open];
  warp.open.erase(warp.open.begin() + static_cast<std::ptrdiff_t>(open));
  if (done.perform != nullptr) done.perform(done.meeting);
  const unsigned first = current_ / kWarp * kWarp;
  for (unsigned l = 0; l < kWarp; ++l) {
    if ((done.meeting.lanes >> l & 1U) != 0 && first + l != current_) ready_.push_back(first + l);
  }
}

void Block::meet(uint32_t mask, const char* operation, void* operand,
                 void (*perform)(const Meeting&), Place place) {
  const unsigned lane = current_ % kWarp;
  Warp& warp = warps_[current_ / kWarp];
  if ((mask >> lane & 1U) == 0) {
    fault(fmt::format("{}: the mask {:08x} misses lane {} that calls it", operation, mask, lane),
          place);
  }
  size_t i = 0;
  while (i < warp.open.size() && warp.open[i].mask != mask) ++i;
  if (i == warp.open.size()) {
    warp.open.push_back({mask, {operation, place, 0, {}}, perform});
  }
  OpenMeeting& open = warp.open[i];
  if (!same(open.meeting.operation, operation)) {
    fault(fmt::format("{}: other lanes of the mask {:08x} wait in {}", operation, mask,
                      open.meeting.operation),
          place);
  }
  open.meeting.lanes |= 1U << lane;
  open.meeting.operand[lane] = operand;
  if ((open.meeting.lanes | warp.ended) == (mask | warp.ended)) {
    complete(warp, i);
    return;
  }
  suspend(operation, place);
}

void Block::deadlock() const {
  std::map<std::string, std::vector<unsigned>> waiting;
  size_t ended = 0;
  for (unsigned t = 0; t < threads_.size(); ++t) {
    const Thread& thread = threads_[t];
    if (thread.ended) {
      ++ended;
    } else {
      waiting[fmt::format("{} ({})", thread.operation, text(thread.place))].push_back(t);
    }
  }
  std::string message =
      fmt::format("deadlock in block {}: {} threads have ended", text(index_), ended);
  for (const auto& [what, who] : waiting) {
    message += fmt::format("; {} wait in {}, first thread {}", who.size(), what,
                           text(threads_[who.front()].index));
  }
  throw Fault(message);
}

void check_launch(const Grid& g) {
  const auto product = [](Dim d) { return uint64_t{d.x} * d.y * d.z; };
  const auto fail = [&](const char* why) {
    throw Fault(fmt::format("a grid {} of blocks {} with {} bytes of shared memory: {}",
                            text(g.blocks), text(g.threads), g.shared_bytes, why));
  };
  if (product(g.blocks) == 0) fail("no blocks");
  if (g.blocks.x > 0x7FFFFFFF || g.blocks.y > 65535 || g.blocks.z > 65535) fail("too many blocks");
  if (product(g.threads) == 0) fail("no threads");
  if (product(g.threads) > kMaxThreads || g.threads.z > 64) fail("too many threads");
  if (g.shared_bytes > kMaxShared) fail("too much shared memory");
}

}  // namespace

void run(const Grid& grid) {
  check_launch(grid);
  if (running != nullptr) throw Fault("a kernel launches a kernel");
  static uint64_t launches = 0;
  const uint64_t seed = mix(++launches);
  std::vector<uint64_t> order(uint64_t{grid.blocks.x} * grid.blocks.y * grid.blocks.z);
  for (uint64_t b = 0; b < order.size(); ++b) {
    order[b] = b;
    std::swap(order[b], order[mix(seed + b) % (b + 1)]);
  }
  struct Stop {
    ~Stop() { running = nullptr; }
  } stop;
  Block block(grid);
  running = &block;
  for (const uint64_t b : order) {
    block.run({static_cast<unsigned>(b % grid.blocks.x),
               static_cast<unsigned>(b / grid.blocks.x % grid.blocks.y),
               static_cast<unsigned>(b / grid.blocks.x / grid.blocks.y)},
              mix(seed ^ b) | 1);
  }
}

int lane() {
  return static_cast<int>(running->current_index() % kWarp);
}

uint8_t* dynamic_shared() {
  return shared_memory();
}

size_t dynamic_shared_bytes() {
  return running->shared_bytes();
}

void barrier(Place place) {
  running->barrier(0, 0, place);
}

void named_barrier(int id, unsigned threads, Place place) {
  if (id < 1 || id >= kBarriers || threads == 0 || threads % kWarp != 0) {
    fault("a barrier that does not exist", place);
  }
  running->barrier(id, threads, place);
}

void yield() {
  running->yield();
}

void meet(uint32_t mask, const char* operation, void* operand, void (*perform)(const Meeting&),
          Place place) {
  running->meet(mask, operation, operand, perform, place);
}

void begin_copy(const AsyncCopy& copy) {
  std::memset(copy.to, kUninitialised, copy.bytes);
  running->current().open.push_back(copy);
}

void commit_copies() {
  Thread& thread = running->current();
  thread.groups.push_back(std::move(thread.open));
  thread.open.clear();
}

void wait_for_copies(int groups_still_under_way) {
  auto& groups = running->current().groups;
  while (groups.size() > static_cast<size_t>(groups_still_under_way)) {
    for (const AsyncCopy& copy : groups.front()) {
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    }
    groups.erase(groups.begin());
  }
}

void fault(std::string what, Place place) {
  fault(std::move(what), place.file_name(), static_cast<unsigned>(place.line()));
}

void fault(std::string what, const char* file, unsigned line) {
  if (running == nullptr) {
    fmt::print(stderr, "{}:{}: {}\n", file, line, what);
    std::abort();
  }
  running->record(
      fmt::format("{} ({}): {}", running->where(running->current_index()), text(file, line), what));
  std::string().swap(what);  // frees it
  running->stop();
}

}  // namespace pivot::simt
