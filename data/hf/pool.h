#pragma once
/// Scratch objects lent to one caller at a time, so that const functions of several threads share
/// nothing but the short lock of taking one.

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace pivot::hf {

template <class T>
class Pool {
 public:
  class Loan {
   public:
    Loan(Pool& pool, std::unique_ptr<T> item) : pool_(pool), item_(std::move(item)) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.free_.push_back(std::move(item_));
    }
    T* operator->() const { return item_.get(); }
    T& operator*() const { return *item_; }

   private:
    Pool& pool_;
    std::unique_ptr<T> item_;
  };

  /// One that was given back, or make().
  template <class Make>
  Loan take(const Make& make) {
    {
      const std::lock_guard lock(mutex_);
      // The capacity is there before the loan: giving back cannot fail.
      if (free_.capacity() == lent_) free_.reserve(2 * lent_ + 4);
      if (!free_.empty()) {
        std::unique_ptr<T> item = std::move(free_.back());
        free_.pop_back();
        return Loan(*this, std::move(item));
      }
      ++lent_;
    }
    return Loan(*this, make());
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
  size_t lent_ = 0;  // ever made
};

}  // namespace pivot::hf
