#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

namespace bitlite {
namespace {

// Long enough to bridge the serial steps of one run, short enough to leave the core to others.
constexpr auto kSpin = std::chrono::microseconds(100);
constexpr int kPausesPerClockRead = 64;

// Parts of a thread's share: the longest wait at the end of a job is one part.
constexpr int kPartsPerShare = 8;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The pool is never destroyed: its detached workers may outlive static destruction. After fork()
// the child has no workers, so it starts with a new pool.
std::atomic<ThreadPool*> pool{nullptr};

void ForgetPoolInChild() { pool.store(nullptr, std::memory_order_release); }

template <typename Condition>
bool SpinUntil(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (condition()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return condition();
}

}  // namespace

ThreadPool& ThreadPool::Get() {
  static const int registered = pthread_atfork(nullptr, nullptr, ForgetPoolInChild);
  (void)registered;
  ThreadPool* current = pool.load(std::memory_order_acquire);
  if (current == nullptr) {
    ThreadPool* fresh = new ThreadPool;
    if (pool.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;
  }
  return *current;
}

int ThreadPool::Acquire(int threads) {
  if (taken_.exchange(true, std::memory_order_acquire)) return 1;
  threads = std::min(threads, kMaxThreads);
  while (workers_ < threads - 1) {
    try {
      std::thread(&ThreadPool::Work, this, workers_ + 1).detach();
    } catch (const std::system_error&) {
      break;
    }
    ++workers_;
  }
  threads = std::min(threads, workers_ + 1);
  if (threads == 1) {
    taken_.store(false, std::memory_order_release);
    return 1;
  }
  // A job without participants: sleeping workers wake while the first steps run.
  Publish(0);
  return threads;
}

void ThreadPool::Release() { taken_.store(false, std::memory_order_release); }

void ThreadPool::Publish(int threads) {
  const uint64_t sequence = (job_.load(std::memory_order_relaxed) >> 8) + 1;
  job_.store((sequence << 8) | static_cast<uint64_t>(threads), std::memory_order_seq_cst);
  // One wake-up per sleep: a worker that wakes slowly does not cost a system call for every job.
  if (sleepers_.load(std::memory_order_seq_cst) > 0 && sleepers_.exchange(0) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
}

void ThreadPool::ParallelFor(int threads, int64_t items, int64_t grain, Fn fn, void* context) {
  threads = static_cast<int>(std::min<int64_t>(threads, items));
  const int parts = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>(kPartsPerShare, items / threads / grain)));
  fn_.store(fn, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  items_.store(items, std::memory_order_relaxed);
  parts_.store(parts, std::memory_order_relaxed);
  unfinished_.store(threads * parts, std::memory_order_relaxed);
  const uint32_t sequence = static_cast<uint32_t>((job_.load(std::memory_order_relaxed) >> 8) + 1);
  for (int t = 0; t < threads; ++t) {
    shares_[t].claim.store(static_cast<uint64_t>(sequence) << 32, std::memory_order_release);
  }
  Publish(threads);
  TakeParts(sequence, 0, threads);
  const auto done = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  // Someone is in the middle of a part, unless the OS has taken that thread off its core.
  while (!SpinUntil(done)) std::this_thread::yield();
}

void ThreadPool::TakeParts(uint32_t sequence, int thread, int threads) {
  const Fn fn = fn_.load(std::memory_order_relaxed);
  void* const context = context_.load(std::memory_order_relaxed);
  const int64_t items = items_.load(std::memory_order_relaxed);
  const int parts = parts_.load(std::memory_order_relaxed);
  for (int k = 0; k < threads; ++k) {
    const int share = (thread + k) % threads;
    const int64_t begin = items * share / threads, end = items * (share + 1) / threads;
    std::atomic<uint64_t>& claim = shares_[share].claim;
    uint64_t seen = claim.load(std::memory_order_acquire);
    while (seen >> 32 == sequence && static_cast<int>(seen & 0xffffffff) < parts) {
      if (!claim.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
      // From here on the job cannot end before this part has.
      const int64_t part = static_cast<int64_t>(seen & 0xffffffff);
      fn(context, thread, begin + (end - begin) * part / parts,
         begin + (end - begin) * (part + 1) / parts);
      unfinished_.fetch_sub(1, std::memory_order_release);
      seen = claim.load(std::memory_order_acquire);
    }
  }
}

void ThreadPool::Work(int thread) {
  uint64_t seen = 0;
  const auto news = [&] { return job_.load(std::memory_order_seq_cst) != seen; };
  for (;;) {
    if (!SpinUntil(news)) {
      std::unique_lock<std::mutex> lock(mutex_);
      while (!news()) {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        if (news()) break;
        wake_.wait(lock);
      }
    }
    seen = job_.load(std::memory_order_seq_cst);
    const int threads = static_cast<int>(seen & 0xff);
    if (thread < threads) TakeParts(static_cast<uint32_t>(seen >> 8), thread, threads);
  }
}

}  // namespace bitlite
