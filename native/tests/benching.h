// A benchmark is a function that registers itself and reports lines. `bitlite_bench [substring]`.
#pragma once

#include <string>

#include "step.h"

namespace bitlite {
namespace benching {

bool Register(const char* name, void (*run)());

// Runs the benchmarks whose names contain `part`.
void RunBenchmarks(const char* part);

// Least time of a call in seconds: repeated for about a tenth of a second.
double Time(void (*call)(void*), void* context);
template <typename F>
double Time(F call) {
  return Time([](void* f) { (*static_cast<F*>(f))(); }, &call);
}

// One line: what ran, its time, billions of operations per second and, when peak > 0, percent of
// it.
void Report(const std::string& what, double seconds, double operations, double peak_gops);

// Elementwise kernels: billions of results per second, of runs of kElements.
constexpr int64_t kElements = 4096;
inline void ReportElements(const std::string& symbol, const std::string& what, double seconds) {
  Report(symbol + " " + what, seconds, kElements, 0);
}

// n floats between -1 and 1.
Aligned<float> Floats(int64_t n);

// Billions of operations per second (two per multiply-add and lane) of independent chains of the
// fused multiply-adds of the kernel's instruction set, by its symbol; 0 where unknown.
double FmaPeakGops(const char* symbol);

}  // namespace benching
}  // namespace bitlite

#define BITLITE_BENCH(name)                                                         \
  static void name();                                                               \
  static const bool name##_registered = ::bitlite::benching::Register(#name, name); \
  static void name()
