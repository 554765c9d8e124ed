// Times of gemm_f32 against the peak of fused multiply-adds.
#include <string>
#include <vector>

#include "gemm_pack.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
namespace {

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

}  // namespace

template <>
void TimeKernel(const Kernel<gemm_f32>& entry) {
  const double peak = benching::FmaPeakGops(entry.symbol);
  for (const GemmCase& c : kGemms) {
    const int64_t k = c.taps * c.kc;
    const Aligned<float> a = benching::Floats(c.m * c.step + k), y(static_cast<size_t>(c.m * c.n));
    const Aligned<float> w = benching::Floats(PanelsOf(c.n) * kGemmPanel * k);
    const Aligned<float> bias = benching::Floats(PanelsOf(c.n) * kGemmPanel);
    const int64_t tiles = (c.m + entry.mr - 1) / entry.mr;
    std::vector<const float*> pointers(static_cast<size_t>(c.taps * entry.mr));
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
        entry.fn({pointers.data(), rows, c.taps, c.kc, w.data(), k * kGemmPanel, bias.data(),
                  nullptr, 0, to, c.n, c.n, -1e30f, 1e30f});
      }
    });
    benching::Report(std::string(entry.symbol) + " " + c.name, seconds,
                     2.0 * static_cast<double>(c.m * c.n * k), peak);
  }
}

}  // namespace bitlite
