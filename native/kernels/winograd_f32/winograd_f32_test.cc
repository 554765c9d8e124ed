// The transforms of float Winograd convolutions against matrix products in double.
#include <algorithm>
#include <cmath>
#include <string>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

constexpr int kIn = kWinogradIn, kOut = kWinogradOut, kPoints = kWinogradPoints;
const double kRoot = std::sqrt(2.0), kHalf = std::sqrt(0.5);

const double kBT[kIn][kIn] = {{1, 0, -2.5, 0, 1, 0},          {0, -kHalf, -0.5, kRoot, 1, 0},
                              {0, kHalf, -0.5, -kRoot, 1, 0}, {0, -kRoot, -2, kHalf, 1, 0},
                              {0, kRoot, -2, -kHalf, 1, 0},   {0, 1, 0, -2.5, 0, 1}};
const double kAT[kOut][kIn] = {{1, 1, 1, 1, 1, 0},
                               {0, kRoot, -kRoot, kHalf, -kHalf, 0},
                               {0, 2, 2, 0.5, 0.5, 0},
                               {0, 2 * kRoot, -2 * kRoot, kHalf / 2, -kHalf / 2, 1}};

// Element (i, j) of T x T^T, where x[k * 6 + l] is 6x6.
template <typename At>
double Transformed(const double* row_i, const double* row_j, At x) {
  double sum = 0;
  for (int k = 0; k < kIn; ++k) {
    for (int l = 0; l < kIn; ++l) sum += row_i[k] * row_j[l] * x(k * kIn + l);
  }
  return sum;
}

void CheckIn(const Kernel<winograd_in_f32>& entry, int channels) {
  std::mt19937 random(static_cast<uint32_t>(channels));
  const Buffer x = Normal(static_cast<size_t>(kPoints * channels), random);
  const Buffer v(new float[static_cast<size_t>(kPoints * channels)]);
  const float* pixels[kPoints];
  for (int p = 0; p < kPoints; ++p) pixels[p] = x.get() + p * channels;
  entry.fn({pixels, channels, v.get()});
  for (int p = 0; p < kPoints; ++p) {
    for (int c = 0; c < channels; ++c) {
      const double want =
          Transformed(kBT[p / kIn], kBT[p % kIn], [&](int k) { return x[k * channels + c]; });
      CHECK(std::fabs(v[p * channels + c] - want) <= 1e-5)
          << entry.symbol << " channels=" << channels << " point " << p;
    }
  }
}

void CheckOut(const Kernel<winograd_out_f32>& entry, int channels, int lines, int columns,
              bool residual) {
  constexpr int kWide = WinogradOutF32::kChannels;
  std::mt19937 random(static_cast<uint32_t>(channels * 100 + lines * 10 + columns));
  const Buffer m = Normal(kPoints * kWide, random), bias = Normal(kWide, random);
  // Pixels and lines lie further apart than they are long.
  const int pixel = channels + 3, line = columns * pixel + 5, beside = channels + 1;
  const size_t size = static_cast<size_t>((lines - 1) * line + (columns - 1) * pixel + channels);
  const Buffer y(new float[size]), r = Normal(static_cast<size_t>(16 * beside), random);
  std::fill_n(y.get(), size, 7.0f);
  entry.fn({m.get(), channels, lines, columns, bias.get(), residual ? r.get() : nullptr, 4 * beside,
            beside, y.get(), line, pixel, -4.0f, 4.0f});
  size_t written = 0;
  for (int i = 0; i < lines; ++i) {
    for (int j = 0; j < columns; ++j) {
      for (int c = 0; c < channels; ++c, ++written) {
        double want =
            bias[c] + Transformed(kAT[i], kAT[j], [&](int k) { return m[k * kWide + c]; });
        if (residual) want += r[(i * 4 + j) * beside + c];
        want = std::min(4.0, std::max(-4.0, want));
        CHECK(std::fabs(y[i * line + j * pixel + c] - want) <= 1e-5)
            << entry.symbol << " channels=" << channels << " pixel " << i << "," << j;
      }
    }
  }
  CHECK(static_cast<size_t>(std::count(y.get(), y.get() + size, 7.0f)) == size - written)
      << entry.symbol << " writes between the pixels";
}

}  // namespace

template <>
void TestKernel(const Kernel<winograd_in_f32>& entry) {
  for (int channels : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64}) CheckIn(entry, channels);
}

template <>
void TestKernel(const Kernel<winograd_out_f32>& entry) {
  for (int channels = 1; channels <= WinogradOutF32::kChannels; ++channels) {
    for (int lines = 1; lines <= kOut; ++lines) {
      for (int columns = 1; columns <= kOut; ++columns) {
        for (bool residual : {false, true}) CheckOut(entry, channels, lines, columns, residual);
      }
    }
  }
}

// Times of the transforms around the products of a float Winograd convolution.
namespace {

// In operations that the plain sums of the outputs would be.
constexpr int64_t kWindows = 64;
constexpr int kChannels = WinogradOutF32::kChannels;
constexpr double kPlain = 2.0 * 9 * kWinogradOut * kWinogradOut * kChannels * kWindows;

}  // namespace

template <>
void TimeKernel(const Kernel<winograd_in_f32>& entry) {
  const Aligned<float> x = benching::Floats(kWindows * kWinogradPoints * kChannels);
  Aligned<float> y(x.size());
  const auto fn = entry.fn;
  const double seconds = benching::Time([&] {
    for (int64_t i = 0; i < kWindows; ++i) {
      const int64_t at = i * kWinogradPoints * kChannels;
      const float* pixels[kWinogradPoints];
      for (int p = 0; p < kWinogradPoints; ++p) pixels[p] = x.data() + at + p * kChannels;
      fn({pixels, kChannels, y.data() + at});
    }
  });
  benching::Report(std::string(entry.symbol) + " 64 windows of 16 channels", seconds, kPlain, 0);
}

template <>
void TimeKernel(const Kernel<winograd_out_f32>& entry) {
  const Aligned<float> x = benching::Floats(kWindows * kWinogradPoints * kChannels),
                       bias = benching::Floats(kChannels);
  Aligned<float> y(x.size());
  const auto fn = entry.fn;
  const double seconds = benching::Time([&] {
    for (int64_t i = 0; i < kWindows; ++i) {
      fn({x.data() + i * kWinogradPoints * kChannels, kChannels, kWinogradOut, kWinogradOut,
          bias.data(), nullptr, 0, 0, y.data() + i * kWinogradOut * kWinogradOut * kChannels,
          kWinogradOut * kChannels, kChannels, -1e30f, 1e30f});
    }
  });
  benching::Report(std::string(entry.symbol) + " 64 windows of 16 channels", seconds, kPlain, 0);
}

}  // namespace bitlite
