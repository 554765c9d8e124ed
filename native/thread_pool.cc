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
  // A job without parts: sleeping workers wake while the first steps run.
  ++sequence_;
  for (int t = 1; t < threads; ++t) {
    shares_[t].threads.store(0, std::memory_order_relaxed);
    shares_[t].claim.store(static_cast<uint64_t>(sequence_) << 32, std::memory_order_release);
  }
  Wake(threads);
  return threads;
}

void ThreadPool::Release() { taken_.store(false, std::memory_order_release); }

// One wake-up per sleep: a worker that wakes slowly does not cost a system call for every job. One
// that falls asleep at this very moment may be missed: this job is then done without it.
void ThreadPool::Wake(int threads) {
  for (int t = 1; t < threads; ++t) {
    Share& share = shares_[t];
    if (!share.asleep.load(std::memory_order_relaxed) || !share.asleep.exchange(false)) continue;
    std::lock_guard<std::mutex> lock(share.mutex);
    share.wake.notify_one();
  }
}

void ThreadPool::ParallelFor(int threads, int64_t items, int64_t parts, Fn fn,
                             const void* context) {
  threads = static_cast<int>(std::min<int64_t>(threads, items));
  parts = std::clamp<int64_t>(std::min(parts, items / threads), 1, kMaxParts);
  const uint64_t claim = static_cast<uint64_t>(++sequence_) << 32 | static_cast<uint64_t>(parts)
                                                                        << 16;
  // The caller's own share last: the others begin meanwhile.
  for (int t = threads - 1; t >= 0; --t) {
    Share& share = shares_[t];
    share.fn.store(fn, std::memory_order_relaxed);
    share.context.store(context, std::memory_order_relaxed);
    share.begin.store(items * t / threads, std::memory_order_relaxed);
    share.end.store(items * (t + 1) / threads, std::memory_order_relaxed);
    share.threads.store(threads, std::memory_order_relaxed);
    share.done.store(0, std::memory_order_relaxed);
    share.claim.store(claim, std::memory_order_release);
  }
  Wake(threads);
  for (int t = 0; t < threads; ++t) TakeParts(sequence_, t, 0);
  for (int t = 0; t < threads; ++t) {
    const auto done = [&] { return shares_[t].done.load(std::memory_order_acquire) == parts; };
    // Someone is in the middle of a part, unless the OS has taken that thread off its core.
    while (!SpinUntil(done)) std::this_thread::yield();
  }
}

void ThreadPool::TakeParts(uint32_t sequence, int index, int thread) {
  Share& share = shares_[index];
  uint64_t seen = share.claim.load(std::memory_order_acquire);
  const Fn fn = share.fn.load(std::memory_order_relaxed);
  const void* const context = share.context.load(std::memory_order_relaxed);
  const int64_t begin = share.begin.load(std::memory_order_relaxed);
  const int64_t n = share.end.load(std::memory_order_relaxed) - begin;
  int done = 0;
  for (;;) {
    const int64_t part = seen & 0xffff, parts = seen >> 16 & 0xffff;
    if (seen >> 32 != sequence || part >= parts) break;
    if (!share.claim.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel)) continue;
    // From here on the job cannot end before this part has.
    fn(context, thread, begin + n * part / parts, begin + n * (part + 1) / parts);
    ++done;
    ++seen;
  }
  if (done > 0) share.done.fetch_add(done, std::memory_order_release);
}

void ThreadPool::Work(int thread) {
  Share& own = shares_[thread];
  uint32_t seen = 0;
  const auto sequence = [&] {
    return static_cast<uint32_t>(own.claim.load(std::memory_order_acquire) >> 32);
  };
  const auto news = [&] { return sequence() != seen; };
  for (;;) {
    if (!SpinUntil(news)) {
      std::unique_lock<std::mutex> lock(own.mutex);
      while (!news()) {
        own.asleep.store(true);
        if (news()) break;
        own.wake.wait(lock);
      }
      own.asleep.store(false, std::memory_order_relaxed);
    }
    seen = sequence();
    const int threads = own.threads.load(std::memory_order_relaxed);
    for (int k = 0; k < threads; ++k) TakeParts(seen, (thread + k) % threads, thread);
  }
}

}  // namespace bitlite
