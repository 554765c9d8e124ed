// Times of the transforms around the products of a float Winograd convolution.
#include <string>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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
