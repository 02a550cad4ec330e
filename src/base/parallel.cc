#include "src/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <sched.h>

namespace pivot {
namespace {

int processors_of_this_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

struct ThreadPool::Shared {
  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> generation{0};  // written under the mutex
  int running = 0;                      // helpers inside the current generation
  bool stop = false;
  std::exception_ptr failure;
  std::vector<std::thread> threads;

  void run_items(int worker) {
    for (;;) {
      const int64_t item = next.fetch_add(1, std::memory_order_relaxed);
      if (item >= count) return;
      try {
        (*body)(item, worker);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next.store(count, std::memory_order_relaxed);
      }
    }
  }

  void helper(int worker) {
    uint64_t seen = 0;
    for (;;) {
      // Ops follow one another within microseconds: a short spin saves the sleep and wake-up.
      for (int spin = 0; spin < 2000 && generation.load(std::memory_order_relaxed) == seen;
           ++spin) {
        std::this_thread::yield();
      }
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || generation.load() != seen; });
        if (stop) return;
        seen = generation.load();
      }
      run_items(worker);
      std::lock_guard lock(mutex);
      if (--running == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads)
    : shared_(std::make_unique<Shared>()),
      size_(threads > 0 ? threads : processors_of_this_process()) {
  for (int worker = 1; worker < size_; ++worker) {
    shared_->threads.emplace_back([this, worker] { shared_->helper(worker); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->wake.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
}

void ThreadPool::for_each(int64_t count, const std::function<void(int64_t, int)>& body) {
  if (count <= 0) return;
  Shared& s = *shared_;
  if (size_ == 1 || count == 1) {
    for (int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  {
    std::lock_guard lock(s.mutex);
    s.body = &body;
    s.count = count;
    s.next.store(0);
    s.running = size_ - 1;
    s.failure = nullptr;
    s.generation.fetch_add(1);
  }
  s.wake.notify_all();
  s.run_items(0);
  std::unique_lock lock(s.mutex);
  s.done.wait(lock, [&] { return s.running == 0; });
  if (s.failure) std::rethrow_exception(s.failure);
}

void ThreadPool::for_ranges(int64_t count, int64_t grain,
                            const std::function<void(int64_t, int64_t)>& body) {
  grain = std::max<int64_t>(1, grain);
  for_each((count + grain - 1) / grain,
           [&](int64_t item, int) { body(item * grain, std::min(count, (item + 1) * grain)); });
}

}  // namespace pivot
