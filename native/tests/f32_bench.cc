// Times the float kernels, row by row of kernels.def, against the peak of fused multiply-adds.
#include <algorithm>
#include <cstring>
#include <random>

#include "benching.h"
#include "kernels/common/kernels.h"
#include "kernels/gemm_f32/gemm_pack.h"
#include "rows.h"

namespace bitlite {
namespace {

// Billions of operations (two per multiply-add and lane) of ten independent chains; 0 where
// unknown.
double PeakGops(const char* symbol) {
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

Aligned<float> Random(int64_t n) {
  Aligned<float> values(static_cast<size_t>(n));
  std::mt19937 random(1);
  for (int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(random() % 201) / 100.0f - 1.0f;
  return values;
}

struct GemmCase {
  const char* name;
  int64_t m, n, taps, kc, step;  // step: floats from row to row of A
};

constexpr GemmCase kGemms[] = {
    {"gemm 512x512x512", 512, 512, 1, 512, 512},
    {"conv 3x3 64->64, 16x16 outputs", 256, 64, 3, 192, 64},
    {"conv 3x3 16->16, 32x32 outputs", 1024, 16, 3, 48, 16},
    {"conv 3x3 3->32, 112x112 outputs, stride 2", 12544, 32, 3, 9, 6},
    {"conv 1x1 16->96, 56x56 outputs", 3136, 96, 1, 16, 16},
    {"conv 1x1 384->64, 14x14 outputs", 196, 64, 1, 384, 384},
    {"conv 1x1 320->1280, 7x7 outputs", 49, 1280, 1, 320, 320},
    {"matrix-vector 1280->1000", 1, 1000, 1, 1280, 1280},
};

BITLITE_BENCH(GemmF32) {
  ForEachRow("gemm_f32", [](const KernelRow& row) {
    const double peak = PeakGops(row.symbol);
    for (const GemmCase& c : kGemms) {
      const int64_t k = c.taps * c.kc;
      const Aligned<float> a = Random(c.m * c.step + k), y(static_cast<size_t>(c.m * c.n));
      const Aligned<float> w = Random(PanelsOf(c.n) * kGemmPanel * k);
      const Aligned<float> bias = Random(PanelsOf(c.n) * kGemmPanel);
      const int64_t tiles = (c.m + row.a - 1) / row.a;
      std::vector<const float*> pointers(static_cast<size_t>(c.taps * row.a));
      const double seconds = benching::Time([&] {
        for (int64_t tile = 0; tile < tiles; ++tile) {
          const int64_t begin = c.m * tile / tiles, end = c.m * (tile + 1) / tiles;
          const int rows = static_cast<int>(end - begin);
          for (int64_t t = 0; t < c.taps; ++t) {
            for (int r = 0; r < rows; ++r) {
              pointers[t * rows + r] = a.data() + (begin + r) * c.step + t * c.kc;
            }
          }
          float* to = const_cast<float*>(y.data()) + begin * c.n;
          reinterpret_cast<gemm_f32::Fn*>(row.fn)({pointers.data(), rows, c.taps, c.kc, w.data(),
                                                   k * kGemmPanel, bias.data(), nullptr, 0, to, c.n,
                                                   c.n, -1e30f, 1e30f});
        }
      });
      benching::Report(std::string(row.symbol) + " " + c.name, seconds,
                       2.0 * static_cast<double>(c.m * c.n * k), peak);
    }
  });
}

BITLITE_BENCH(PackedF32) {
  constexpr int64_t k = 1280, n = 1008;
  ForEachRow("packed_f32", [&](const KernelRow& row) {
    const double peak = PeakGops(row.symbol);
    for (int bits : {8, 4}) {
      for (int rows : {1, 4}) {
        const Aligned<float> a = Random(rows * k), columns = Random(n);
        Aligned<float> y(static_cast<size_t>(rows * n));
        Aligned<uint8_t> w(static_cast<size_t>(n * k));
        std::memset(w.data(), 0x35, w.size());
        std::vector<const float*> pointers;
        for (int r = 0; r < rows; ++r) pointers.push_back(a.data() + r * k);
        const PackedF32Tile tile = {pointers.data(),
                                    rows,
                                    k,
                                    bits,
                                    w.data(),
                                    k * kPackedPanel * bits / 8,
                                    columns.data(),
                                    columns.data(),
                                    columns.data(),
                                    columns.data(),
                                    y.data(),
                                    n,
                                    n,
                                    -1e30f,
                                    1e30f};
        const double seconds =
            benching::Time([&] { reinterpret_cast<packed_f32::Fn*>(row.fn)(tile); });
        benching::Report(std::string(row.symbol) + " " + std::to_string(bits) + " bits, " +
                             std::to_string(rows) + " rows",
                         seconds, 2.0 * static_cast<double>(rows * n * k), peak);
      }
    }
  });
}

BITLITE_BENCH(DepthwiseF32) {
  struct Case {
    int64_t width, channels, kernel, stride;
  };
  ForEachRow("depthwise_f32", [](const KernelRow& row) {
    const double peak = PeakGops(row.symbol);
    for (const Case& c :
         {Case{56, 144, 3, 1}, Case{14, 384, 3, 1}, Case{56, 144, 3, 2}, Case{28, 96, 5, 1}}) {
      const int64_t out = (c.width - 1) / c.stride + 1, line = c.width * c.channels;
      const Aligned<float> x = Random(c.kernel * line),
                           w = Random(c.kernel * c.kernel * c.channels);
      const Aligned<float> bias = Random(c.channels);
      Aligned<float> y(static_cast<size_t>(out * c.channels));
      std::vector<const float*> rows;
      for (int64_t k = 0; k < c.kernel; ++k) rows.push_back(x.data() + k * line);
      const DepthwiseF32Row job = {rows.data(), static_cast<int>(c.kernel),
                                   w.data(),    bias.data(),
                                   y.data(),    c.channels,
                                   0,           c.channels,
                                   c.width,     out,
                                   c.kernel,    c.stride,
                                   1,           c.kernel / 2,
                                   -1e30f,      1e30f};
      const double seconds =
          benching::Time([&] { reinterpret_cast<depthwise_f32::Fn*>(row.fn)(job); });
      benching::Report(
          std::string(row.symbol) + " " + std::to_string(c.kernel) + "x" +
              std::to_string(c.kernel) + " stride " + std::to_string(c.stride) + ", line of " +
              std::to_string(c.width) + "x" + std::to_string(c.channels),
          seconds, 2.0 * static_cast<double>(out * c.channels * c.kernel * c.kernel), peak);
    }
  });
}

// The transforms around the products, in operations that the plain sums of their outputs would be.
BITLITE_BENCH(WinogradF32) {
  constexpr int64_t kWindows = 64;
  constexpr int kChannels = WinogradOutF32::kChannels;
  const Aligned<float> x = Random(kWindows * kWinogradPoints * kChannels), bias = Random(kChannels);
  Aligned<float> y(x.size());
  constexpr double kPlain = 2.0 * 9 * kWinogradOut * kWinogradOut * kChannels * kWindows;
  ForEachRow("winograd_in_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<winograd_in_f32::Fn*>(row.fn);
    const double seconds = benching::Time([&] {
      for (int64_t i = 0; i < kWindows; ++i) {
        const int64_t at = i * kWinogradPoints * kChannels;
        const float* pixels[kWinogradPoints];
        for (int p = 0; p < kWinogradPoints; ++p) pixels[p] = x.data() + at + p * kChannels;
        fn({pixels, kChannels, y.data() + at});
      }
    });
    benching::Report(std::string(row.symbol) + " 64 windows of 16 channels", seconds, kPlain, 0);
  });
  ForEachRow("winograd_out_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<winograd_out_f32::Fn*>(row.fn);
    const double seconds = benching::Time([&] {
      for (int64_t i = 0; i < kWindows; ++i) {
        fn({x.data() + i * kWinogradPoints * kChannels, kChannels, kWinogradOut, kWinogradOut,
            bias.data(), nullptr, 0, 0, y.data() + i * kWinogradOut * kWinogradOut * kChannels,
            kWinogradOut * kChannels, kChannels, -1e30f, 1e30f});
      }
    });
    benching::Report(std::string(row.symbol) + " 64 windows of 16 channels", seconds, kPlain, 0);
  });
}

// Operations are elements here: billions of results per second.
BITLITE_BENCH(ElementsF32) {
  constexpr int64_t kElements = 4096;
  const Aligned<float> x = Random(kElements);
  Aligned<float> y(kElements);
  const auto report = [&](const KernelRow& row, const char* what, double seconds) {
    benching::Report(std::string(row.symbol) + " " + what, seconds, kElements, 0);
  };
  ForEachRow("unary_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<unary_f32::Fn*>(row.fn);
    const auto time = [&](UnaryOp op) {
      return benching::Time([&] { fn({op, x.data(), y.data(), kElements, 0.0f, 6.0f}); });
    };
    report(row, "clamp", time(UnaryOp::kClamp));
    report(row, "sigmoid", time(UnaryOp::kSigmoid));
    report(row, "tanh", time(UnaryOp::kTanh));
    report(row, "erf gelu", time(UnaryOp::kGeluErf));
  });
  ForEachRow("binary_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<binary_f32::Fn*>(row.fn);
    report(row, "add", benching::Time([&] {
             fn({BinaryOp::kAdd, x.data(), x.data(), y.data(), kElements, false, false, -1e30f,
                 1e30f});
           }));
  });
  ForEachRow("rnn_f32", [&](const KernelRow& row) {
    constexpr int64_t kUnits = kElements / 4;
    Aligned<float> cell(static_cast<size_t>(kUnits));
    std::fill_n(cell.data(), kUnits, 0.0f);
    RnnF32Args t{};
    t.stage = RnnStage::kLstm;
    t.blocks = kUnits / kRnnBlock;
    t.x = t.h = t.bias = x.data();
    t.cell = cell.data();
    t.y = y.data();
    t.act_f.op = GateOp::kSigmoid;
    t.clip = t.cell_clip = 1e30f;
    const auto fn = reinterpret_cast<rnn_f32::Fn*>(row.fn);
    report(row, "gates of an lstm", benching::Time([&] { fn(t); }));
  });
  ForEachRow("rnn_scale", [&](const KernelRow& row) {
    const std::vector<int32_t> sums(static_cast<size_t>(kElements), 7);
    const RnnScaleArgs t = {sums.data(), kElements, sums.data(), nullptr,  x.data(),
                            nullptr,     3,         0,           1.0f / 3, y.data()};
    const auto fn = reinterpret_cast<rnn_scale::Fn*>(row.fn);
    report(row, "", benching::Time([&] { fn(t); }));
  });
  ForEachRow("reduce_rows_f32", [&](const KernelRow& row) {
    const float* rows[] = {x.data()};
    const auto fn = reinterpret_cast<reduce_rows_f32::Fn*>(row.fn);
    report(row, "mean of 64 lines of 64", benching::Time([&] {
             fn({ReduceOp::kSum, rows, 1, 64, 64, y.data(), 64, 1.0f / 64, -1e30f, 1e30f});
           }));
  });
  ForEachRow("reduce_run_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<reduce_run_f32::Fn*>(row.fn);
    report(row, "sum of a run",
           benching::Time([&] { y[0] = fn({ReduceOp::kSum, x.data(), kElements}); }));
  });
  ForEachRow("softmax_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<softmax_f32::Fn*>(row.fn);
    report(row, "softmax",
           benching::Time([&] { fn({x.data(), y.data(), kElements, 1.0f, false}); }));
  });
  ForEachRow("norm_f32", [&](const KernelRow& row) {
    const auto fn = reinterpret_cast<norm_f32::Fn*>(row.fn);
    report(row, "layer norm", benching::Time([&] {
             fn({x.data(), y.data(), kElements, x.data(), x.data(), true, 1e-5f});
           }));
  });
}

}  // namespace
}  // namespace bitlite
