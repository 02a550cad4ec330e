#pragma once
/// A fixed pool of threads. Work is handed out by index; results must not depend on who does what,
/// which makes every op that uses it deterministic for any number of threads.

#include <cstdint>
#include <functional>
#include <memory>

namespace pivot {

class ThreadPool {
 public:
  /// `threads` = 0 takes the number of processors this process may run on.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(i, worker) for i in [0, count), worker in [0, size()), and waits. Items are taken
  /// in order, one at a time. The first exception is rethrown. Must not be called from inside a
  /// body.
  void for_each(int64_t count, const std::function<void(int64_t item, int worker)>& body);

  /// Splits [0, count) into ranges of at most `grain` items: body(begin, end).
  void for_ranges(int64_t count, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end)>& body);

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
  int size_;
};

}  // namespace pivot
