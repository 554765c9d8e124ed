// gemm_f32 against plain loops in double, and its packed weights.
#include <algorithm>
#include <string>
#include <vector>

#include "gemm_pack.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

void CheckGemm(const Kernel<gemm_f32>& entry, int m, int n, int taps, int kc, bool residual) {
  Random random(static_cast<uint32_t>(m * 1000 + n * 10 + kc));
  const int k = taps * kc;
  const Buffer a = Normal(static_cast<size_t>(m * k), random),
               w = Normal(static_cast<size_t>(n * k), random);
  const Buffer r = Normal(static_cast<size_t>(m * n), random),
               b = Normal(static_cast<size_t>(n), random);
  Aligned<float> packed(static_cast<size_t>(PanelsOf(n) * kGemmPanel * k));
  PackPanels(w.get(), n, k, k, 1, packed.data());
  Aligned<float> bias(static_cast<size_t>(PanelsOf(n) * kGemmPanel));
  std::fill_n(bias.data(), bias.size(), 0.0f);
  std::copy_n(b.get(), n, bias.data());
  std::vector<const float*> pointers;
  for (int t = 0; t < taps; ++t) {
    for (int i = 0; i < m; ++i) pointers.push_back(a.get() + i * k + t * kc);
  }
  const Buffer y(new float[static_cast<size_t>(m * n)]);
  const GemmF32Tile tile = {pointers.data(),
                            m,
                            taps,
                            kc,
                            packed.data(),
                            int64_t{k} * kGemmPanel,
                            bias.data(),
                            residual ? r.get() : nullptr,
                            n,
                            y.get(),
                            n,
                            n,
                            -3.0f,
                            3.0f};
  entry.fn(tile);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double want = b[j] + (residual ? r[i * n + j] : 0.0);
      for (int p = 0; p < k; ++p) want += static_cast<double>(a[i * k + p]) * w[j * k + p];
      want = std::min(3.0, std::max(-3.0, want));
      CHECK(Near(y[i * n + j], want, 1e-4))
          << entry.symbol << " m=" << m << " n=" << n << " k=" << k;
    }
  }
}

BITLITE_TEST(PackPanelsTakesAnyStrides) {
  Random random(1);
  for (int n : kSizes) {
    for (int k : {1, 15, 16, 17, 40}) {
      const Buffer w = Normal(static_cast<size_t>(n * k), random);
      const size_t floats = static_cast<size_t>(PanelsOf(n) * kGemmPanel * k);
      Aligned<float> rows(floats), columns(floats);
      PackPanels(w.get(), n, k, k, 1, rows.data());
      PackPanels(w.get(), n, k, 1, n, columns.data());
      for (int j = 0; j < static_cast<int>(PanelsOf(n)) * kGemmPanel; ++j) {
        for (int i = 0; i < k; ++i) {
          const size_t at =
              static_cast<size_t>((j / kGemmPanel * k + i) * kGemmPanel + j % kGemmPanel);
          CHECK(rows[at] == (j < n ? w[j * k + i] : 0.0f)) << n << " " << k;
          CHECK(columns[at] == (j < n ? w[i * n + j] : 0.0f)) << n << " " << k;
        }
      }
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<gemm_f32>& entry) {
  for (int m = 1; m <= entry.mr; ++m) {
    for (int n : kSizes) {
      CheckGemm(entry, m, n, 1, 9, false);
      CheckGemm(entry, m, n, 3, 4, true);
    }
    CheckGemm(entry, m, 200, 1, 33, false);
  }
  CheckGemm(entry, 1, 17, 0, 5, false);  // no taps: the bias alone
}

// Times of gemm_f32 against the peak of fused multiply-adds.
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
