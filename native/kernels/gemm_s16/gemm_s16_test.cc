// The tiles of gemm_s16 against plain loops.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/gemm_s16/packed_gemm_s16.h"
#include "kernels/gemm_s16/row_winograd_s16.h"
#include "requant.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

struct LayerCase {
  int m, n, segments, length;
  bool real;
  bool ends = false;  // codes and weights at the ends of their types: sums leave int32
  int bits = 8;       // of the weights
};

int16_t WideCode(Random& random) {
  const uint32_t r = random();
  if (r % 8 == 0) return -32768;
  if (r % 8 == 1) return 32767;
  return static_cast<int16_t>(r >> 8);
}

template <typename W>
void CheckLayer(const char* symbol, const GemmS16Kernel& kernel, const LayerCase& c) {
  Random random(static_cast<uint32_t>(c.m * 1000 + c.n * 10 + c.length));
  const int run = c.length + 3, row = c.segments * run, k = c.segments * c.length;
  std::vector<int16_t> x(static_cast<size_t>(c.m * row + 1));
  std::vector<W> w(static_cast<size_t>(c.n * k));
  const int most = (1 << (c.bits - 1)) - 1;
  for (int16_t& v : x) v = c.ends ? int16_t{-32768} : WideCode(random);
  for (W& v : w) {
    v = static_cast<W>(c.ends ? -most : static_cast<int>(random() % (2 * most + 1)) - most);
  }
  OutputsS16 out;
  out.real = c.real;
  out.low = c.real ? -1e9f : -32000.0f;
  out.high = c.real ? 1e9f : 31000.0f;
  for (int o = 0; o < c.n; ++o) {
    out.bias.push_back(c.ends && o % 2 == 0 ? int64_t{1} << 40
                                            : static_cast<int32_t>(random()) / 9);
    out.multiplier.push_back((c.bits > 8 ? 1e-8f : 1e-5f) * static_cast<float>(1 + random() % 100));
    out.bias_f32.push_back(c.real ? 0.25f * static_cast<float>(o) : 0.0f);
  }
  const PackedGemmS16 layer(kernel, w.data(), c.n, c.segments, c.length, out, 0);
  std::vector<const int16_t*> rows;
  std::vector<int32_t> segments;
  for (int m = 0; m < c.m; ++m) rows.push_back(x.data() + m * row);
  for (int s = 0; s < c.segments; ++s) segments.push_back(s * run);
  const int stride = c.n + 3;
  std::vector<int16_t> codes(static_cast<size_t>(c.m * stride), 77);
  std::vector<float> reals(static_cast<size_t>(c.m * stride), 77.0f);
  layer.Run(rows.data(), c.m, segments.data(), 0, layer.blocks(),
            c.real ? static_cast<void*>(reals.data()) : codes.data(), stride);
  for (int m = 0; m < c.m; ++m) {
    for (int o = 0; o < stride; ++o) {
      const size_t at = static_cast<size_t>(m * stride + o);
      if (o >= c.n) {
        CHECK(codes[at] == 77 && reals[at] == 77.0f) << symbol << " wrote behind its columns";
        continue;
      }
      int64_t sum = out.bias[static_cast<size_t>(o)];
      for (int s = 0; s < c.segments; ++s) {
        for (int i = 0; i < c.length; ++i) {
          sum += int64_t{x[static_cast<size_t>(m * row + s * run + i)]} *
                 w[static_cast<size_t>(o * k + s * c.length + i)];
        }
      }
      float v = static_cast<float>(sum) * out.multiplier[static_cast<size_t>(o)];
      if (c.real) v = v + out.bias_f32[static_cast<size_t>(o)];
      v = std::min(std::max(v, out.low), out.high);
      const bool same = c.real ? reals[at] == v : codes[at] == RneSmall(v);
      CHECK(same) << symbol << " m=" << c.m << " n=" << c.n << " k=" << k << " row " << m
                  << " column " << o;
    }
  }
}

// A 3x3 kernel by windows of the rows of codes that are not negative, against plain sums.
void CheckRows(const char* symbol, const GemmS16Kernel& kernel, int columns, int channels,
               int width) {
  constexpr int kLines = 5;
  Random random(static_cast<uint32_t>(columns * 100 + channels + width));
  const int across = (width + 1) / 2, line = (2 * across + 2) * channels;
  const int row = across * channels, plane = (kLines + 2) * row, k = 9 * channels;
  std::vector<int16_t> x(static_cast<size_t>((kLines + 2) * line));
  std::vector<int8_t> w(static_cast<size_t>(columns * k));
  for (int16_t& v : x) v = random() % 8 == 0 ? 32767 : static_cast<int16_t>(random() % 32768);
  for (int8_t& v : w) v = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  OutputsS16 out;
  out.low = -32000;
  out.high = 31000;
  for (int o = 0; o < columns; ++o) {
    out.bias.push_back(static_cast<int32_t>(random()) / 9);
    out.multiplier.push_back(1e-5f * static_cast<float>(1 + random() % 100));
  }
  CHECK(RowWinogradS16::Takes(w.data(), columns, channels, out)) << symbol << " refuses";
  const RowWinogradS16 layer(kernel, w.data(), columns, channels, out, row, plane);
  std::vector<int16_t> v(static_cast<size_t>(4 * plane + 1));
  for (int r = 0; r < kLines + 2; ++r) {
    CHECK(kernel.windows(x.data() + r * line, across, channels, v.data() + r * row, plane))
        << symbol << " finds a negative code";
  }
  std::vector<const int16_t*> rows(static_cast<size_t>(kLines * across));
  std::vector<int16_t> y(static_cast<size_t>(kLines * width * columns + 1), 77);
  layer.Run(v.data(), rows.data(), kLines, width, 0, (columns + kColumnsS16 - 1) / kColumnsS16,
            y.data(), columns);
  CHECK(y.back() == 77) << symbol << " wrote behind its pixels";
  for (int i = 0; i < kLines * width * columns; ++i) {
    const int o = i % columns, at = i / columns / width * line + i / columns % width * channels;
    int64_t sum = out.bias[static_cast<size_t>(o)];
    for (int tap = 0; tap < k; ++tap) {
      const int from = at + tap / (3 * channels) * line + tap % (3 * channels);
      sum += int64_t{x[static_cast<size_t>(from)]} * w[static_cast<size_t>(o * k + tap)];
    }
    float want = static_cast<float>(sum) * out.multiplier[static_cast<size_t>(o)];
    want = std::min(std::max(want, out.low), out.high);
    CHECK(y[static_cast<size_t>(i)] == RneSmall(want))
        << symbol << " rows of " << width << " x " << channels << " to " << columns << " at " << i;
  }
  for (const int at : {0, channels + 3, line - 1}) {
    x[static_cast<size_t>(at)] = -1;
    CHECK(!kernel.windows(x.data(), across, channels, v.data(), plane))
        << symbol << " overlooks a negative code at " << at;
    x[static_cast<size_t>(at)] = 0;
  }
}

template <typename W>
void TimeLayer(const Kernel<gemm_s16>& entry, const char* weights, W code) {
  constexpr int64_t m = 196, n = 64, k = 384;
  const std::vector<W> w(static_cast<size_t>(n * k), code);
  const std::vector<int16_t> x(static_cast<size_t>(m * k + 1), 500);
  OutputsS16 out;
  out.bias.assign(n, 0);
  out.multiplier.assign(n, 1e-3f);
  out.bias_f32.assign(n, 0.0f);
  out.low = -32768;
  out.high = 32767;
  const PackedGemmS16 layer(entry.fn(), w.data(), n, 1, k, out, 0);
  std::vector<const int16_t*> rows;
  for (int64_t i = 0; i < m; ++i) rows.push_back(x.data() + i * k);
  std::vector<int16_t> y(static_cast<size_t>(m * n));
  const int32_t segment = 0;
  const double seconds =
      benching::Time([&] { layer.Run(rows.data(), m, &segment, 0, layer.blocks(), y.data(), n); });
  benching::Report(std::string(entry.symbol) + " 196x384x64, " + weights, seconds,
                   2.0 * static_cast<double>(m * n * k), 0);
}

}  // namespace

template <>
void TestKernel(const Kernel<gemm_s16>& entry) {
  const GemmS16Kernel& kernel = entry.fn();
  for (int width : {2, 7, 26}) {
    for (int columns : {16, 19, 33}) CheckRows(entry.symbol, kernel, columns, 16, width);
    CheckRows(entry.symbol, kernel, 20, 32, width);
  }
  for (bool real : {false, true}) {
    for (int n : kSizes) CheckLayer<int8_t>(entry.symbol, kernel, {3, n, 1, 7, real});
    for (int m = 1; m <= 2 * kernel.max_mr + 1; ++m) {
      CheckLayer<int8_t>(entry.symbol, kernel, {m, 17, 3, 5, real});
      CheckLayer<int16_t>(entry.symbol, kernel, {m, 17, 3, 5, real, false, 16});
    }
    for (bool ends : {false, true}) {
      CheckLayer<int8_t>(entry.symbol, kernel, {4, 20, 2, 1201, real, ends});
      for (int bits : {9, 12, 16}) {
        CheckLayer<int16_t>(entry.symbol, kernel, {4, 20, 2, 301, real, ends, bits});
      }
    }
  }
}

template <>
void TimeKernel(const Kernel<gemm_s16>& entry) {
  TimeLayer<int8_t>(entry, "int8", 3);
  TimeLayer<int16_t>(entry, "12 bits", 400);
}

}  // namespace bitlite
