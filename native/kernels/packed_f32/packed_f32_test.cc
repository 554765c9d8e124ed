// packed_f32 against plain loops in double.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

// Codes as packed_f32.h has them, their values as w: column j is output j.
void CheckPacked(const Kernel<packed_f32>& entry, int m, int n, int k, int bits, int block = 0,
                 bool symmetric = false) {
  if (block == 0) block = k;
  const int blocks = (k + block - 1) / block;
  Random random(static_cast<uint32_t>(m * 1000 + n * 10 + k + bits));
  const Buffer a = Normal(static_cast<size_t>(m * k), random);
  const int padded = (n + kPackedPanel - 1) / kPackedPanel * kPackedPanel,
            of_block = (block + kNibbles - 1) / kNibbles, lines = bits == 8 ? k : blocks * of_block,
            bytes = bits == 8 ? 1 : kNibbles / 2;
  const Buffer scale = Normal(static_cast<size_t>(padded * blocks), random);
  const Buffer offset = Normal(static_cast<size_t>(padded * blocks), random);
  const float centre = bits == 8 ? 0.0f : 8.0f;
  for (int i = 0; symmetric && i < padded * blocks; ++i) offset[i] = -centre * scale[i];
  const Buffer bias = Normal(static_cast<size_t>(padded), random);
  const Buffer raw = Normal(static_cast<size_t>(n * k), random);
  std::vector<uint8_t> packed(static_cast<size_t>(padded * lines * bytes));
  std::vector<int> code(static_cast<size_t>(n * k));
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < k; ++i) {
      const int top = bits == 8 ? 127 : 15, low = bits == 8 ? -128 : 0;
      const int c = std::min(top, std::max(low, static_cast<int>(raw[j * k + i] * top)));
      code[j * k + i] = c;
      const int line = bits == 8 ? i : i / block * of_block + i % block / kNibbles;
      const int byte = bits == 8 ? 0 : i % block % kNibbles / 2;
      uint8_t& to = packed[(line * padded + j) * bytes + byte];
      to = static_cast<uint8_t>(bits == 8 ? c : i % block % 2 == 0 ? to | c : to | c << 4);
    }
  }
  std::vector<const float*> rows;
  std::vector<float> sums;
  for (int r = 0; r < m; ++r) {
    rows.push_back(a.get() + r * k);
    for (int b = 0; b < blocks; ++b) {
      const float* begin = rows[r] + b * block;
      sums.push_back(std::accumulate(begin, begin + std::min(block, k - b * block), 0.0f));
    }
  }
  const Buffer y(new float[static_cast<size_t>(m * n)]);
  const PackedF32Tile tile = {rows.data(),   m,           k,
                              block,         bits,        padded,
                              packed.data(), scale.get(), symmetric ? nullptr : offset.get(),
                              centre,        bias.get(),  sums.data(),
                              y.get(),       n,           n,
                              -500.0f,       500.0f};
  entry.fn(tile);
  for (int r = 0; r < m; ++r) {
    for (int j = 0; j < n; ++j) {
      double want = bias[j], size = 10;
      for (int b = 0; b < blocks; ++b) {
        const double s = scale[b * padded + j];
        for (int i = b * block; i < std::min(k, (b + 1) * block); ++i) {
          const double part = static_cast<double>(rows[r][i]) * code[j * k + i] * s;
          want += part;
          size += std::abs(part);
        }
        want += static_cast<double>(sums[r * blocks + b]) * offset[b * padded + j];
      }
      want = std::min(500.0, std::max(-500.0, want));
      CHECK(std::abs(y[r * n + j] - want) <= 1e-5 * size)
          << entry.symbol << " m=" << m << " n=" << n << " k=" << k << " bits=" << bits;
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<packed_f32>& entry) {
  for (int bits : {4, 8}) {
    for (int m = 1; m <= entry.mr; ++m) {
      for (int n : kSizes) CheckPacked(entry, m, n, 9, bits);
      CheckPacked(entry, m, 130, 32, bits);
      for (int n : {3, 16, 70}) CheckPacked(entry, m, n, 75, bits, 16);
      CheckPacked(entry, m, 33, 75, bits, 12);
      CheckPacked(entry, m, 20, 128, bits, 32);
      CheckPacked(entry, m, 70, 75, bits, 16, true);
    }
  }
}

// Times of packed_f32 against the peak of fused multiply-adds.
template <>
void TimeKernel(const Kernel<packed_f32>& entry) {
  constexpr int64_t k = 1280, n = 1008;
  const double peak = benching::FmaPeakGops(entry.symbol);
  for (int bits : {8, 4}) {
    for (int rows : {1, 4}) {
      const Aligned<float> a = benching::Floats(rows * k), columns = benching::Floats(n);
      Aligned<float> y(static_cast<size_t>(rows * n));
      Aligned<uint8_t> w(static_cast<size_t>(n * k));
      std::memset(w.data(), 0x35, w.size());
      std::vector<const float*> pointers;
      for (int r = 0; r < rows; ++r) pointers.push_back(a.data() + r * k);
      const PackedF32Tile tile = {pointers.data(),
                                  rows,
                                  k,
                                  k,
                                  bits,
                                  n,
                                  w.data(),
                                  columns.data(),
                                  columns.data(),
                                  0.0f,
                                  columns.data(),
                                  columns.data(),
                                  y.data(),
                                  n,
                                  n,
                                  -1e30f,
                                  1e30f};
      const double seconds = benching::Time([&] { entry.fn(tile); });
      benching::Report(std::string(entry.symbol) + " " + std::to_string(bits) + " bits, " +
                           std::to_string(rows) + " rows",
                       seconds, 2.0 * static_cast<double>(rows * n * k), peak);
    }
  }
}

}  // namespace bitlite
