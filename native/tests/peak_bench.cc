#include <cstring>
#include <random>

#include "benching.h"
#include "cpu.h"

namespace bitlite {
namespace benching {

double FmaPeakGops(const char* symbol) {
#if defined(__x86_64__)
  constexpr double kChained = 20000.0 * 10;
#define BITLITE_FMA(reg, to) "vfmadd231ps %%" reg "15, %%" reg "14, %%" reg to "\n"
#define BITLITE_FMAS(reg)                                                                       \
  asm volatile("mov $20000, %%ecx\n1:\n" BITLITE_FMA(reg, "0") BITLITE_FMA(reg, "1")            \
                   BITLITE_FMA(reg, "2") BITLITE_FMA(reg, "3") BITLITE_FMA(reg, "4")            \
                       BITLITE_FMA(reg, "5") BITLITE_FMA(reg, "6") BITLITE_FMA(reg, "7")        \
                           BITLITE_FMA(reg, "8") BITLITE_FMA(reg, "9") "dec %%ecx\njnz 1b\n" :: \
                               : "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", \
                                 "xmm7", "xmm8", "xmm9")
  if (std::strstr(symbol, "avx512") && (CpuIsa() & kIsaAvx512)) {
    return kChained * 32 / benching::Time([] { BITLITE_FMAS("zmm"); }) * 1e-9;
  }
  if (std::strstr(symbol, "avx2") && (CpuIsa() & kIsaAvx2)) {
    return kChained * 16 / benching::Time([] { BITLITE_FMAS("ymm"); }) * 1e-9;
  }
#undef BITLITE_FMAS
#undef BITLITE_FMA
#else
  (void)symbol;
#endif
  return 0;
}

Aligned<float> Floats(int64_t n) {
  Aligned<float> values(static_cast<size_t>(n));
  std::mt19937 random(1);
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(random() % 201) / 100.0f - 1.0f;
  return values;
}

}  // namespace benching
}  // namespace bitlite
