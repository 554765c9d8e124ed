// One pool per process, shared by all programs. A program takes it for a whole run; when another
// run has it, the program goes on alone (results do not depend on the number of threads).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace bitlite {

constexpr int kMaxThreads = 64;
constexpr int64_t kMaxParts = 8;  // of a share: the longest wait at the end of a job is one part

class ThreadPool {
 public:
  using Fn = void (*)(const void* context, int thread, int64_t begin, int64_t end);

  static ThreadPool& Get();

  // Number of threads (the caller's included) that the following ParallelFor calls may use; 1 when
  // the pool is taken or threads == 1. Starts missing workers and wakes sleeping ones.
  int Acquire(int threads);
  void Release();

  // Calls fn on parts that make up [0, items), on the calling thread and up to threads - 1 workers;
  // returns when all are done. Each thread starts with a contiguous share of its own, cut into at
  // most `parts` (1..kMaxParts) parts; whoever is done early takes parts of the others, so a worker
  // that the OS does not run holds up nobody.
  void ParallelFor(int threads, int64_t items, int64_t parts, Fn fn, const void* context);

 private:
  ThreadPool() = default;
  void Work(int thread);
  void Wake(int threads);
  void TakeParts(uint32_t sequence, int share, int thread);

  // A thread's share of the current job. What passes between two cores costs as much as a small
  // job, so all that a worker has to know is on the one cache line that it watches. The fields
  // change only when every part of the job before is claimed: whoever then reads them in vain does
  // not get a claim either.
  struct alignas(64) Share {
    std::atomic<uint64_t> claim{0};  // (sequence << 32) | (parts << 16) | next part
    std::atomic<Fn> fn{nullptr};
    std::atomic<const void*> context{nullptr};
    std::atomic<int64_t> begin{0}, end{0};
    std::atomic<int> threads{0}, done{0};  // done: parts
    alignas(64) std::atomic<bool> asleep{false};
    std::mutex mutex;
    std::condition_variable wake;
  };
  Share shares_[kMaxThreads];
  uint32_t sequence_ = 0;

  int workers_ = 0;
  std::atomic<bool> taken_{false};
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
