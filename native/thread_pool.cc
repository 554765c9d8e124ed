#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <system_error>

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
  // A job without participants: sleeping workers wake while the first steps run.
  Publish(0);
  return threads;
}

void ThreadPool::Release() { taken_.store(false, std::memory_order_release); }

void ThreadPool::Publish(int threads) {
  const uint64_t sequence = (job_.load(std::memory_order_relaxed) >> 8) + 1;
  job_.store((sequence << 8) | static_cast<uint64_t>(threads), std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
}

void ThreadPool::ParallelFor(int threads, Fn fn, void* context) {
  fn_ = fn;
  context_ = context;
  pending_.store(threads - 1, std::memory_order_relaxed);
  Publish(threads);
  fn(context, 0);
  const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
  // A worker that the OS has taken off its core may be long in coming back.
  while (!SpinUntil(done)) std::this_thread::yield();
}

void ThreadPool::Work(int thread) {
  uint64_t seen = 0;
  const auto news = [&] { return job_.load(std::memory_order_seq_cst) != seen; };
  for (;;) {
    if (!SpinUntil(news)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, news);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = job_.load(std::memory_order_seq_cst);
    if (thread < static_cast<int>(seen & 0xff)) {
      fn_(context_, thread);
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }
}

}  // namespace bitlite
