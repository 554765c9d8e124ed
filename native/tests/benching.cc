#include "benching.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace bitlite {
namespace benching {
namespace {

constexpr double kSeconds = 0.1;

std::vector<std::pair<const char*, void (*)()>>& Benchmarks() {
  static std::vector<std::pair<const char*, void (*)()>> benchmarks;
  return benchmarks;
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

bool Register(const char* name, void (*run)()) {
  Benchmarks().emplace_back(name, run);
  return true;
}

double Time(void (*call)(void*), void* context) {
  call(context);
  double best = 1e9, total = 0;
  int calls = 1;
  while (total < kSeconds) {
    const double start = Now();
    for (int i = 0; i < calls; ++i) call(context);
    const double elapsed = Now() - start;
    best = std::min(best, elapsed / calls);
    total += elapsed;
    // Long enough for the clock.
    if (elapsed < 20e-6) calls *= 2;
  }
  return best;
}

void Report(const std::string& what, double seconds, double operations, double peak_gops) {
  const double gops = operations / seconds * 1e-9;
  std::printf("%-56s %10.2f us %9.1f GOPS", what.c_str(), seconds * 1e6, gops);
  if (peak_gops > 0) std::printf(" %5.1f %% of peak", 100 * gops / peak_gops);
  std::printf("\n");
}

void RunBenchmarks(const char* part) {
  for (const auto& [name, run] : Benchmarks()) {
    if (std::strstr(name, part) == nullptr) continue;
    std::printf("-- %s\n", name);
    run();
  }
}

}  // namespace benching
}  // namespace bitlite
