// One pool per process, shared by all programs. A program takes it for a whole run; when another
// run has it, the program goes on alone (results do not depend on the number of threads).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace bitlite {

constexpr int kMaxThreads = 64;

class ThreadPool {
 public:
  using Fn = void (*)(void* context, int thread, int64_t begin, int64_t end);

  static ThreadPool& Get();

  // Number of threads (the caller's included) that the following ParallelFor calls may use; 1 when
  // the pool is taken or threads == 1. Starts missing workers and wakes sleeping ones.
  int Acquire(int threads);
  void Release();

  // Calls fn on parts that make up [0, items), on the calling thread and up to threads - 1 workers;
  // returns when all are done. Each thread starts with a contiguous share of its own, cut into a
  // few parts; whoever is done early takes parts of the others, so a worker that the OS does not
  // run holds up nobody.
  // grain: fewest items of a part.
  void ParallelFor(int threads, int64_t items, int64_t grain, Fn fn, void* context);

 private:
  ThreadPool() = default;
  void Work(int thread);
  void Publish(int threads);
  void TakeParts(uint32_t sequence, int thread, int threads);

  // (sequence << 8) | participating threads: one word, so that a late worker cannot see half a job.
  std::atomic<uint64_t> job_{0};
  // Of the current job. A worker may read them while the next job is being written; it then fails
  // to claim.
  std::atomic<Fn> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int64_t> items_{0};
  std::atomic<int> parts_{0};  // of each share
  // By share: (sequence << 32) | next part.
  struct alignas(64) Share {
    std::atomic<uint64_t> claim{0};
  };
  Share shares_[kMaxThreads];
  alignas(64) std::atomic<int> unfinished_{0};  // parts

  std::atomic<int> sleepers_{0};
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

}  // namespace bitlite
