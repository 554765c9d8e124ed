// Times of the int8 tiles against the peak of the instructions they are made of.
#include <cstring>
#include <string>
#include <vector>

#include "packed_gemm_s8.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
namespace {

// Operations (two per multiply-add) of independent chains of one instruction.
#if defined(__x86_64__)
#define BITLITE_CHAINS(instruction, reg)                                                         \
  asm volatile("mov $20000, %%ecx\n1:\n" instruction " %%" reg "30, %%" reg "31, %%" reg         \
               "0\n" instruction " %%" reg "30, %%" reg "31, %%" reg "1\n" instruction " %%" reg \
               "30, %%" reg "31, %%" reg "2\n" instruction " %%" reg "30, %%" reg "31, %%" reg   \
               "3\n" instruction " %%" reg "30, %%" reg "31, %%" reg "4\n" instruction " %%" reg \
               "30, %%" reg "31, %%" reg "5\n" instruction " %%" reg "30, %%" reg "31, %%" reg   \
               "6\n" instruction " %%" reg "30, %%" reg "31, %%" reg "7\n" instruction " %%" reg \
               "30, %%" reg "31, %%" reg "8\n" instruction " %%" reg "30, %%" reg "31, %%" reg   \
               "9\n"                                                                             \
               "dec %%ecx\njnz 1b\n" ::                                                          \
                   : "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",      \
                     "xmm8", "xmm9")
constexpr double kChained = 20000 * 10;

// Without VNNI a product takes several instructions: eight chains of them, each with a sum of its
// own. p, q: registers for products.
#define BITLITE_SUMS(chain)                                                                       \
  benching::Time([] {                                                                             \
    asm volatile("mov $20000, %%ecx\n1:\n" chain("8", "9", "0") chain("10", "11", "1")            \
                     chain("12", "13", "2") chain("8", "9", "3") chain("10", "11", "4")           \
                         chain("12", "13", "5") chain("8", "9", "6")                              \
                             chain("10", "11", "7") "dec %%ecx\njnz 1b\n" ::                      \
                                 : "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", \
                                   "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");   \
  })
#define BITLITE_PRODUCT(instruction, p) instruction " %%ymm14, %%ymm15, %%ymm" p "\n"
#define BITLITE_ADD(add, p, sum) add " %%ymm" p ", %%ymm" sum ", %%ymm" sum "\n"
#define BITLITE_WIDEN(p) "vpmaddwd %%ymm14, %%ymm" p ", %%ymm" p "\n"
#define BITLITE_WORDS(p, q, sum) BITLITE_PRODUCT("vpmaddwd", p) BITLITE_ADD("vpaddd", p, sum)
#define BITLITE_NIBBLES(p, q, sum) BITLITE_PRODUCT("vpmaddubsw", p) BITLITE_ADD("vpaddw", p, sum)
#define BITLITE_BYTES(p, q, sum) \
  BITLITE_PRODUCT("vpmaddubsw", p) BITLITE_WIDEN(p) BITLITE_ADD("vpaddd", p, sum)
#define BITLITE_JOINED(p, q, sum)  \
  BITLITE_PRODUCT("vpmaddubsw", p) \
  BITLITE_PRODUCT("vpmaddubsw", q) \
  BITLITE_ADD("vpaddw", q, p) BITLITE_WIDEN(p) BITLITE_ADD("vpaddd", p, sum)

// Operations of all chains, of which each step makes `products`.
constexpr double OperationsOf(double products) { return 2 * products * 20000 * 8; }

// What the instructions allow: the first two are exact for any operands, the others where
// vpmaddubsw, or the sum of two, does not saturate.
BITLITE_BENCH(s8_limits_avx2) {
  if (!(CpuIsa() & kIsaAvx2)) return;
  const auto report = [](const char* what, double products, double seconds) {
    benching::Report(what, seconds, OperationsOf(products), 0);
  };
  report("vpmaddwd, vpaddd", 16, BITLITE_SUMS(BITLITE_WORDS));
  report("2 vpmaddubsw of nibbles, 2 vpaddw", 16, BITLITE_SUMS(BITLITE_NIBBLES));
  report("vpmaddubsw, vpmaddwd, vpaddd", 32, BITLITE_SUMS(BITLITE_BYTES));
  report("2 vpmaddubsw, vpaddw, vpmaddwd, vpaddd", 64, BITLITE_SUMS(BITLITE_JOINED));
}

double PeakGops(const char* symbol) {
  if (std::strstr(symbol, "avx2")) {
    return OperationsOf(16) / BITLITE_SUMS(BITLITE_WORDS) * 1e-9;
  }
  if (!(CpuIsa() & kIsaAvx512Vnni)) return 0;  // registers 30 and 31 are AVX-512's
  if (std::strstr(symbol, "avx512vnni")) {
    return kChained * 128 / benching::Time([] { BITLITE_CHAINS("vpdpbusd", "zmm"); }) * 1e-9;
  }
  if (std::strstr(symbol, "vnni") || std::strstr(symbol, "evex")) {
    return kChained * 64 / benching::Time([] { BITLITE_CHAINS("vpdpbusd", "ymm"); }) * 1e-9;
  }
  return 0;
}
#else
double PeakGops(const char*) { return 0; }
#endif

struct TileCase {
  const char* name;
  int64_t m, n, segments, length, row, segment_step;  // steps in activations
};

// Rows of a matrix, or of an image with a border where 3x3 windows overlap.
constexpr TileCase kTileCases[] = {
    {"gemm 512x512x512", 512, 512, 1, 512, 512, 0},
    {"conv 3x3 64->64, 16x16 outputs", 256, 64, 3, 192, 64, 18 * 64},
    {"conv 3x3 16->16, 32x32 outputs", 1024, 16, 3, 48, 16, 34 * 16},
    {"conv 1x1 16->96, 56x56 outputs", 3136, 96, 1, 16, 16, 0},
    {"conv 1x1 384->64, 14x14 outputs", 196, 64, 1, 384, 384, 0},
    {"conv 1x1 320->1280, 7x7 outputs", 49, 1280, 1, 320, 320, 0},
    {"matrix-vector 640->128", 1, 128, 1, 640, 640, 0},
};

void TimeTiles(const char* symbol, const GemmS8Kernel& kernel) {
  const double peak = PeakGops(symbol);
  for (const TileCase& c : kTileCases) {
    const int64_t k = c.segments * c.length;
    std::vector<uint8_t> w(static_cast<size_t>(c.n * k), 3);
    RequantEpilogue out;
    out.acc_scale = {1e-4};
    out.bias.assign(static_cast<size_t>(c.n), 7);
    const PackedGemmS8 layer(kernel, SelectVectorS8(ActiveIsa()),
                             {w.data(), c.n, c.segments, c.length, k, 1}, out, 0, {});
    const int64_t elements = (c.m + 40) * c.row + c.segments * c.segment_step;
    Aligned<uint8_t> image(static_cast<size_t>(elements * kernel.act_bytes() + 64));
    std::memset(image.data(), 1, image.size());
    std::vector<const uint8_t*> rows;
    std::vector<int32_t> segments;
    for (int64_t m = 0; m < c.m; ++m) rows.push_back(image.data() + m * c.row * kernel.act_bytes());
    for (int64_t s = 0; s < c.segments; ++s) {
      segments.push_back(static_cast<int32_t>(s * c.segment_step * kernel.act_bytes()));
    }
    std::vector<int8_t> y(static_cast<size_t>(c.m * c.n));
    const double seconds = benching::Time([&] {
      layer.Run({rows.data(), c.m, segments.data()}, 0, layer.blocks(), y.data(), c.n, nullptr, 0);
    });
    benching::Report(std::string(symbol) + ": " + c.name, seconds,
                     2.0 * static_cast<double>(c.m * c.n * k), peak);
  }
}

}  // namespace

template <>
void TimeKernel(const Kernel<gemm_s8>& entry) {
  TimeTiles(entry.symbol, entry.fn());
}

template <>
void TimeKernel(const Kernel<gemv_s8>& entry) {
  TimeTiles(entry.symbol, entry.fn());
}

}  // namespace bitlite
