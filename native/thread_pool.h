// One pool per process, shared by all programs. A program takes it for a whole run; when another
// run has it, the program goes on alone (results do not depend on the number of threads).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace bitlite {

class ThreadPool {
 public:
  using Fn = void (*)(void* context, int thread);

  static ThreadPool& Get();

  // Number of threads (the caller's included) that the following ParallelFor calls may use; 1 when
  // the pool is taken or threads == 1. Starts missing workers and wakes sleeping ones.
  int Acquire(int threads);
  void Release();

  // Calls fn(context, t) for t in [0, threads), t = 0 on the calling thread; returns when all are
  // done.
  void ParallelFor(int threads, Fn fn, void* context);

 private:
  ThreadPool() = default;
  void Work(int thread);
  void Publish(int threads);

  // (sequence << 8) | participating threads: one word, so that a late worker cannot see half a job.
  std::atomic<uint64_t> job_{0};
  std::atomic<int> pending_{0};
  std::atomic<int> sleepers_{0};
  Fn fn_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> taken_{false};
  int workers_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
};

// The pool for the duration of one run.
class PoolLease {
 public:
  explicit PoolLease(int threads)
      : threads_(threads > 1 ? ThreadPool::Get().Acquire(threads) : 1) {}
  ~PoolLease() {
    if (threads_ > 1) ThreadPool::Get().Release();
  }
  PoolLease(const PoolLease&) = delete;
  PoolLease& operator=(const PoolLease&) = delete;
  int threads() const { return threads_; }

 private:
  const int threads_;
};

constexpr int kMaxThreads = 64;

}  // namespace bitlite
