#include "cpu.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace bitlite {
namespace {

struct Level {
  const char* name;
  IsaMask bit;      // what the level is about
  IsaMask permits;  // what may be used when it is forced
};

// From low to high; the levels of the other architecture are simply not available.
#if defined(__aarch64__)
constexpr Level kLevels[] = {
    {"scalar", kIsaScalar, kIsaScalar},
    {"neon", kIsaNeon, kIsaNeon},
    {"neon_dot", kIsaNeonDot, kIsaNeon | kIsaNeonDot},
    {"neon_i8mm", kIsaNeonI8mm, kIsaNeon | kIsaNeonDot | kIsaNeonI8mm},
};
#else
constexpr Level kLevels[] = {
    {"scalar", kIsaScalar, kIsaScalar},
    {"avx2", kIsaAvx2, kIsaAvx2},
    {"avx_vnni", kIsaAvxVnni, kIsaAvx2 | kIsaAvxVnni},
    {"avx512", kIsaAvx512, kIsaAvx2 | kIsaAvx512},
    {"avx512vnni", kIsaAvx512Vnni, kIsaAvx2 | kIsaAvxVnni | kIsaAvx512 | kIsaAvx512Vnni},
};
#endif

IsaMask DetectCpu() {
  IsaMask mask = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) mask |= kIsaAvx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) mask |= kIsaAvx512;
  if (avx512 && __builtin_cpu_supports("avx512vnni")) mask |= kIsaAvx512Vnni;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4))) mask |= kIsaAvxVnni;
#elif defined(__aarch64__)
  mask |= kIsaNeon;
#if defined(__linux__)
  constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
  constexpr unsigned long kHwcap2I8mm = 1ul << 13;
  if (getauxval(AT_HWCAP) & kHwcapAsimdDp) mask |= kIsaNeonDot;
  if ((mask & kIsaNeonDot) && (getauxval(AT_HWCAP2) & kHwcap2I8mm)) mask |= kIsaNeonI8mm;
#endif
#endif
  return mask;
}

}  // namespace

IsaMask BuiltIsa() {
#if defined(__x86_64__)
  return kIsaAvx2 | kIsaAvxVnni | kIsaAvx512 | kIsaAvx512Vnni;
#elif defined(__aarch64__)
  return kIsaNeon | kIsaNeonDot | kIsaNeonI8mm;
#else
  return kIsaScalar;
#endif
}

IsaMask CpuIsa() {
  static const IsaMask mask = DetectCpu();
  return mask;
}

IsaMask IsaUpTo(const std::string& level) {
  std::string allowed;
  for (const Level& l : kLevels) {
    if (level == l.name) return l.permits & BuiltIsa() & CpuIsa();
    allowed += allowed.empty() ? "" : ", ";
    allowed += l.name;
  }
  throw std::invalid_argument("unknown instruction set '" + level +
                              "' (BITLITE_ISA); allowed: " + allowed);
}

IsaMask ActiveIsa() {
  const char* forced = std::getenv("BITLITE_ISA");
  if (forced != nullptr && *forced != '\0') return IsaUpTo(forced);
  return BuiltIsa() & CpuIsa();
}

std::string IsaName(IsaMask mask) {
  const char* best = "scalar";
  for (const Level& l : kLevels) {
    if (l.bit != 0 && (mask & l.bit) != 0) best = l.name;
  }
  return best;
}

std::vector<std::string> AvailableIsas() {
  std::vector<std::string> names;
  const IsaMask mask = BuiltIsa() & CpuIsa();
  for (const Level& l : kLevels) {
    if ((mask & l.bit) == l.bit) names.push_back(l.name);
  }
  return names;
}

}  // namespace bitlite
