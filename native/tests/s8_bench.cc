// Times the int8 kernels, row by row of kernels.def, against the peak of the instructions they are
// made of.
#include <cstring>
#include <memory>

#include "benching.h"
#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/layer_s8.h"
#include "rows.h"
#include "runtime.h"

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

struct Case {
  const char* name;
  int64_t m, n, segments, length, row, segment_step;  // steps in activations
};

// Rows of a matrix, or of an image with a border where 3x3 windows overlap.
constexpr Case kCases[] = {
    {"gemm 512x512x512", 512, 512, 1, 512, 512, 0},
    {"conv 3x3 64->64, 16x16 outputs", 256, 64, 3, 192, 64, 18 * 64},
    {"conv 3x3 16->16, 32x32 outputs", 1024, 16, 3, 48, 16, 34 * 16},
    {"conv 1x1 16->96, 56x56 outputs", 3136, 96, 1, 16, 16, 0},
    {"conv 1x1 384->64, 14x14 outputs", 196, 64, 1, 384, 384, 0},
    {"conv 1x1 320->1280, 7x7 outputs", 49, 1280, 1, 320, 320, 0},
    {"matrix-vector 640->128", 1, 128, 1, 640, 640, 0},
};

BITLITE_BENCH(gemm_s8_tiles) {
  ForEachRow("gemm_s8", [](const KernelRow& row) {
    const GemmS8Kernel& kernel = reinterpret_cast<gemm_s8::Fn*>(row.fn)();
    const double peak = PeakGops(row.symbol);
    for (const Case& c : kCases) {
      const int64_t k = c.segments * c.length;
      std::vector<uint8_t> w(static_cast<size_t>(c.n * k), 3);
      OutputS8 out;
      out.acc_scale = {1e-4};
      out.bias.assign(static_cast<size_t>(c.n), 7);
      const LayerS8 layer(kernel, SelectVectorS8(ActiveIsa()),
                          {w.data(), c.n, c.segments, c.length, k, 1}, out, 0, {});
      const int64_t elements = (c.m + 40) * c.row + c.segments * c.segment_step;
      Aligned<uint8_t> image(static_cast<size_t>(elements * kernel.act_bytes() + 64));
      std::memset(image.data(), 1, image.size());
      std::vector<const uint8_t*> rows;
      std::vector<int32_t> segments;
      for (int64_t m = 0; m < c.m; ++m)
        rows.push_back(image.data() + m * c.row * kernel.act_bytes());
      for (int64_t s = 0; s < c.segments; ++s) {
        segments.push_back(static_cast<int32_t>(s * c.segment_step * kernel.act_bytes()));
      }
      std::vector<int8_t> y(static_cast<size_t>(c.m * c.n));
      const double seconds = benching::Time([&] {
        layer.Run({rows.data(), c.m, segments.data()}, 0, layer.blocks(), y.data(), c.n, nullptr,
                  0);
      });
      benching::Report(std::string(row.symbol) + ": " + c.name, seconds,
                       2.0 * static_cast<double>(c.m * c.n * k), peak);
    }
  });
}

struct Layer {
  int64_t size, c, o, kernel, stride;
  bool depthwise;
};

// Whole steps, with the copy of their input.
BITLITE_BENCH(conv_s8_steps) {
  for (const std::string& isa : PermittedIsas()) {
    for (const Layer& l : {Layer{32, 16, 16, 3, 1, false}, Layer{16, 64, 64, 3, 1, false},
                           Layer{224, 3, 32, 3, 2, false}, Layer{56, 24, 144, 1, 1, false},
                           Layer{14, 96, 576, 1, 1, false}, Layer{112, 32, 32, 3, 1, true},
                           Layer{112, 96, 96, 3, 2, true}, Layer{28, 192, 192, 3, 1, true},
                           Layer{14, 384, 384, 5, 1, true}}) {
      const int64_t out = (l.size + l.stride - 1) / l.stride, pad = l.kernel / 2;
      const int64_t group = l.depthwise ? l.c : 1;
      std::vector<TensorSpec> t(3);
      t[0].shape = {1, l.size, l.size, l.c};
      t[1].shape = {l.o, l.kernel, l.kernel, l.c / group};
      t[2].shape = {1, out, out, l.o};
      for (size_t i = 0; i < t.size(); ++i) {
        t[i].name = "t" + std::to_string(i);
        t[i].dtype = DType::kI8;
        t[i].count = CountOf(t[i].shape);
        t[i].scale = {i == 2 ? 1.0 : 0.01};
        t[i].zero_point = {0};
      }
      const auto weights =
          std::make_shared<std::vector<int8_t>>(static_cast<size_t>(t[1].count), 3);
      t[1].constant = true;
      t[1].data = weights->data();
      t[1].owner = weights;
      StepSpec spec;
      spec.op = spec.name = "conv";
      spec.inputs = {0, 1, -1};
      spec.outputs = {2};
      const int64_t end = (out - 1) * l.stride + l.kernel - l.size - pad;
      spec.attrs = {{"stride", std::vector<int64_t>{l.stride, l.stride}},
                    {"pad", std::vector<int64_t>{pad, end, pad, end}},
                    {"group", group}};
      const double operations = 2.0 * static_cast<double>(t[2].count) *
                                static_cast<double>(l.kernel * l.kernel * l.c / group);
      std::vector<int8_t> x(static_cast<size_t>(t[0].count), 1), y(static_cast<size_t>(t[2].count));
      const Program program(t, {spec}, {0}, {2}, 1, IsaUpTo(isa));
      const void* in = x.data();
      void* result = y.data();
      const double seconds = benching::Time([&] { program.Run(&in, &result); });
      benching::Report(isa + (l.depthwise ? ": depthwise " : ": conv ") + std::to_string(l.kernel) +
                           "x" + std::to_string(l.kernel) + "/" + std::to_string(l.stride) + " " +
                           std::to_string(l.size) + "x" + std::to_string(l.size) + "x" +
                           std::to_string(l.c) + "->" + std::to_string(l.o),
                       seconds, operations, 0);
    }
  }
}

}  // namespace
}  // namespace bitlite
