// The tiles of gemm_s8 against plain loops.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "packed_gemm_s8.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

// A layer of `n` columns over `segments` runs of `length` activations, m rows.
struct LayerCase {
  int m, n, segments, length;
  int32_t x_zero;
  DType dtype;
  bool residual;
  int weight_zero;  // 0: none
  bool gemmlowp = false;
  bool relu = false;
  bool ends = false;  // all codes stand at an end of their type
  bool dynamic = false;
};

void CheckLayer(const char* symbol, const GemmS8Kernel& kernel, const LayerCase& c, uint32_t seed) {
  Random random(seed);
  // Without a gap the last step of the last row reads behind the image.
  const int k = c.segments * c.length, gap = c.m == 32 ? 0 : 3;
  const int row_length = c.segments * (c.length + gap);
  std::vector<int8_t> x(static_cast<size_t>(c.m * row_length)), w(static_cast<size_t>(c.n * k));
  for (int8_t& v : x) v = Code(random);
  for (int8_t& v : w) v = Code(random);
  if (c.ends) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = i / row_length % 2 == 0 ? 127 : -128;
    for (int o = 0; o < c.n; ++o) {
      std::fill_n(w.begin() + o * k, k, static_cast<int8_t>(o % 2 == 0 ? 127 : -128));
    }
  }
  RequantEpilogue out;
  out.dtype = c.dtype;
  for (int o = 0; o < c.n; ++o) {
    // Multipliers from far below 1 to some above it.
    const double spread = c.gemmlowp ? std::ldexp(1.0, static_cast<int>(random() % 16) - 4) : 1;
    out.acc_scale.push_back(1e-4 * (1 + random() % 100) * spread);
    out.bias.push_back(static_cast<int32_t>(random()) % 100000);
    if (c.dtype == DType::kF32) out.bias_f32.push_back(0.25f * static_cast<float>(o));
  }
  if (c.weight_zero != 0) out.weight_zero = {c.weight_zero};
  out.y_scale = 0.11;
  out.y_zero = 5;
  out.range = {c.relu ? 5 : -100, 110};
  out.gemmlowp = c.gemmlowp;
  out.fmin = -50;
  out.fmax = 60;
  out.residual = c.residual;
  out.lhs_scale = 0.7f;
  out.rhs_scale = 0.3f;
  out.r_zero = -4;
  out.sum_zero = -9;
  out.sum_range = {-128, 120};
  const PackedGemmS8::Weights weights{
      reinterpret_cast<uint8_t*>(w.data()), c.n, c.segments, c.length, k, 1};
  PackedGemmS8::Options options;
  options.rows = c.m;
  options.dynamic = c.dynamic;
  const DynamicS8 dynamic{0.37f, c.x_zero};
  const PackedGemmS8 layer(kernel, SelectVectorS8(ActiveIsa()), weights, out,
                           c.dynamic ? 0 : c.x_zero, options);

  const int64_t run = c.length + gap, signs = kernel.plane_bytes(c.m * row_length);
  Aligned<uint8_t> image(static_cast<size_t>(kernel.image_bytes(c.m * row_length)));
  // What lies behind rows is of no importance.
  std::memset(image.data(), 0x7f, image.size());
  std::memset(image.data(), 0xff, static_cast<size_t>(kernel.plane_bytes(c.m * row_length)));
  for (int s = 0; s < c.m * c.segments; ++s) {
    kernel.load(image.data() + s * run, x.data() + s * run, run);
  }
  if (kernel.split != nullptr) {
    kernel.split(image.data(), kernel.read_bytes(c.m * row_length), signs);
  }
  std::vector<const uint8_t*> rows;
  std::vector<int32_t> segments, sums(static_cast<size_t>(2 * c.m));
  for (int m = 0; m < c.m; ++m) rows.push_back(image.data() + m * c.segments * run);
  for (int s = 0; s < c.segments; ++s) segments.push_back(static_cast<int32_t>(s * run));
  const int64_t stride = c.n + 3;
  std::vector<int8_t> residual(static_cast<size_t>(c.m * stride));
  for (int8_t& v : residual) v = Code(random);
  std::vector<int8_t> y8(static_cast<size_t>(c.m * stride), 77);
  std::vector<float> y32(static_cast<size_t>(c.m * stride), 77.0f);
  PackedGemmS8::IndirectionBuffer where{rows.data(), c.m, segments.data()};
  where.signs = signs;
  where.sums = sums.data();
  if (c.dynamic) where.dynamic = &dynamic;
  if (layer.sums_of_row() > 0) layer.SumRows(where);
  layer.Run(where, 0, layer.blocks(),
            c.dtype == DType::kF32 ? static_cast<void*>(y32.data()) : y8.data(), stride,
            c.residual ? residual.data() : nullptr, stride);

  for (int m = 0; m < c.m; ++m) {
    for (int o = 0; o < stride; ++o) {
      const size_t at = static_cast<size_t>(m * stride + o);
      if (o >= c.n) {
        CHECK(y8[at] == 77 && y32[at] == 77.0f) << symbol << " wrote behind its columns";
        continue;
      }
      uint32_t acc = c.dynamic ? 0 : static_cast<uint32_t>(out.bias[o]);
      for (int s = 0; s < c.segments; ++s) {
        for (int i = 0; i < c.length; ++i) {
          const int a =
              x[static_cast<size_t>(m * row_length + s * (c.length + gap) + i)] - c.x_zero;
          const int b = w[static_cast<size_t>(o * k + s * c.length + i)] - c.weight_zero;
          acc += static_cast<uint32_t>(a * b);
        }
      }
      const int32_t sum = static_cast<int32_t>(acc);
      if (c.dtype == DType::kF32) {
        const float scale = static_cast<float>(out.acc_scale[o]);
        float v = static_cast<float>(sum) * (c.dynamic ? dynamic.scale * scale : scale);
        v = v + out.bias_f32[o];
        v = std::min(std::max(v, out.fmin), out.fmax);
        CHECK(y32[at] == v) << symbol << " m=" << c.m << " n=" << c.n << " k=" << k << " row " << m
                            << " column " << o << ": " << y32[at] << " for " << v;
        continue;
      }
      const float multiplier = static_cast<float>(out.acc_scale[o] / out.y_scale);
      const GemmlowpMultiplier fixed =
          QuantizeMultiplier(out.acc_scale[o] / static_cast<float>(out.y_scale));
      int32_t q = c.gemmlowp ? RequantizeGemmlowp(sum, fixed, 5, out.range.qmin, 110)
                             : RequantizeRneF32(sum, multiplier, 5, out.range.qmin, 110);
      if (c.residual) {
        const float p = static_cast<float>(q - 5) * out.lhs_scale;
        const float r = static_cast<float>(residual[at] + 4) * out.rhs_scale;
        q = RoundClamp(p + r, -9, -128, 120);
      }
      CHECK(y8[at] == q) << symbol << " m=" << c.m << " n=" << c.n << " k=" << k << " row " << m
                         << " column " << o << ": " << int{y8[at]} << " for " << q;
    }
  }
}

void CheckTiles(const char* symbol, const GemmS8Kernel& kernel) {
  uint32_t seed = 1;
  for (int m = 1; m <= 18; ++m) {
    for (int n : kSizes)
      CheckLayer(symbol, kernel, {m, n, 2, 9, -128, DType::kI8, false, 0}, ++seed);
  }
  for (int length : kSizes) {
    for (int segments : {1, 3}) {
      CheckLayer(symbol, kernel, {7, 33, segments, length, 127, DType::kI8, false, 0}, ++seed);
      CheckLayer(symbol, kernel, {7, 65, segments, length, 3, DType::kI8, true, 0}, ++seed);
      CheckLayer(symbol, kernel, {5, 31, segments, length, 0, DType::kF32, false, 0}, ++seed);
      CheckLayer(symbol, kernel, {6, 64, segments, length, -1, DType::kI8, false, -7}, ++seed);
    }
  }
  for (int length : {9, 10, 11, 41}) {
    // Quantized while running, sums have no bias that would hide them behind the clamp.
    LayerCase dynamic{32, 16, 1, length, 5, DType::kF32, false, 0};
    dynamic.dynamic = true;
    CheckLayer(symbol, kernel, dynamic, ++seed);
  }
  for (int n : kSizes) {
    for (bool relu : {false, true}) {
      CheckLayer(symbol, kernel, {9, n, 2, 11, 1, DType::kI8, false, 0, true, relu}, ++seed);
      CheckLayer(symbol, kernel, {7, n, 1, 24, -3, DType::kI8, false, 5, true, relu}, ++seed);
    }
    for (int m : {1, 9}) {
      LayerCase dynamic{m, n, 1, 40, -7, DType::kF32, false, 0};
      dynamic.dynamic = true;
      CheckLayer(symbol, kernel, dynamic, ++seed);
    }
    CheckLayer(symbol, kernel, {9, n, 1, 40, 1, DType::kI8, true, 0}, ++seed);
    CheckLayer(symbol, kernel, {9, n, 1, 40, 1, DType::kF32, false, 3}, ++seed);
    CheckLayer(symbol, kernel, {3, n, 1, 300, -128, DType::kF32, false, 0, false, false, true},
               ++seed);
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<gemm_s8>& entry) {
  CheckTiles(entry.symbol, entry.fn());
}

// Of the instruction set's kernels the one for pairs is taken where few of these weights exceed.
BITLITE_TEST(KernelsOfPairsTakeWeightsThatHoldThem) {
  const GemmS8Kernel& kernel = SelectGemmS8(ActiveIsa());
  Random random(3);
  for (int magnitude : {64, 65, 127}) {
    std::vector<int8_t> w(64 * 100);
    for (int8_t& v : w) v = static_cast<int8_t>(random() % (2 * magnitude + 1)) - magnitude;
    w[1] = w[2] = w[3] = 127;  // in one step of many
    const PackedGemmS8::Weights all{reinterpret_cast<uint8_t*>(w.data()), 64, 1, 100, 100, 1};
    const bool pairs = kernel.of_pairs != nullptr && magnitude < 127;
    CHECK((FasterOfPairs(kernel, {all}).pair_limit > 0) == pairs) << magnitude;
  }
}

// Times of the int8 tiles against the peak of the instructions they are made of.
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
#define BITLITE_BYTES(p, q, sum) \
  BITLITE_PRODUCT("vpmaddubsw", p) BITLITE_WIDEN(p) BITLITE_ADD("vpaddd", p, sum)
#define BITLITE_SIGNS(p, q, sum) \
  BITLITE_PRODUCT("vpxor", q)    \
  "vpmaddubsw %%ymm" q ", %%ymm15, %%ymm" p "\n" BITLITE_WIDEN(p) BITLITE_ADD("vpaddd", p, sum)
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
  report("vpxor, vpmaddubsw, vpmaddwd, vpaddd", 32, BITLITE_SUMS(BITLITE_SIGNS));
  report("vpmaddubsw, vpmaddwd, vpaddd", 32, BITLITE_SUMS(BITLITE_BYTES));
  report("2 vpmaddubsw, vpaddw, vpmaddwd, vpaddd", 64, BITLITE_SUMS(BITLITE_JOINED));
}

double PeakGops(const char* symbol) {
  if (std::strstr(symbol, "avx2")) {
    return OperationsOf(32) / BITLITE_SUMS(BITLITE_BYTES) * 1e-9;
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
    PackedGemmS8::Options options;
    options.rows = c.m;
    const PackedGemmS8 layer(kernel, SelectVectorS8(ActiveIsa()),
                             {w.data(), c.n, c.segments, c.length, k, 1}, out, 0, options);
    const int64_t elements = (c.m + 40) * c.row + c.segments * c.segment_step;
    Aligned<uint8_t> image(static_cast<size_t>(kernel.image_bytes(elements)));
    std::memset(image.data(), 0, image.size());
    std::vector<const uint8_t*> rows;
    std::vector<int32_t> segments;
    for (int64_t m = 0; m < c.m; ++m) rows.push_back(image.data() + m * c.row);
    for (int64_t s = 0; s < c.segments; ++s) {
      segments.push_back(static_cast<int32_t>(s * c.segment_step));
    }
    std::vector<int8_t> y(static_cast<size_t>(c.m * c.n));
    std::vector<int32_t> sums(static_cast<size_t>(c.m));
    PackedGemmS8::IndirectionBuffer where{rows.data(), c.m, segments.data()};
    where.signs = kernel.plane_bytes(elements);
    where.sums = sums.data();
    const double seconds = benching::Time([&] {
      if (layer.sums_of_row() > 0) layer.SumRows(where);
      layer.Run(where, 0, layer.blocks(), y.data(), c.n, nullptr, 0);
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

}  // namespace bitlite
