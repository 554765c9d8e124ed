// Times of the statistics kernels, on the sizes of a MobileNet.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
template <>
void TimeKernel(const Kernel<statistics>& entry) {
  const StatisticsKernel& kernel = entry.fn();
  const std::string symbol = entry.symbol;
  constexpr int kValues = 112 * 112 * 32;
  std::vector<float> x(kValues);
  for (int k = 0; k < kValues; ++k) x[k] = static_cast<float>(k % 1013) * 0.006f;
  std::vector<int32_t> index(kValues);
  float low, high;
  benching::Report(symbol + ": extremes",
                   benching::Time([&] { kernel.extremes(x.data(), kValues, &low, &high); }),
                   kValues, 0);
  benching::Report(symbol + ": bins", benching::Time([&] {
                     kernel.bins(x.data(), kValues, 256.0f, 0, 2048, index.data());
                   }),
                   kValues, 0);
  constexpr int64_t kPairs = 1024;
  const std::vector<int32_t> panels(2 * kPairs * kPanel, 0x00030005);
  int32_t tile[kTileRows * kPanel];
  benching::Report(symbol + ": products", benching::Time([&] {
                     kernel.products(panels.data(), panels.data() + kPairs * kPanel, kPairs, tile);
                   }),
                   4.0 * kPairs * kTileRows * kPanel, 0);
  constexpr int64_t k = 576;
  const int64_t columns = kernel.descent;
  std::vector<double> gram(k * k, 1.0), real(k * columns), q(k * columns),
      scratch(3 * k * kMostColumns);
  for (int64_t n = 0; n < k; ++n) gram[n * k + n] = 300.0;
  for (size_t n = 0; n < real.size(); ++n) real[n] = static_cast<double>(n % 251) * 0.9 - 110.0;
  benching::Report(symbol + ": descent from zero", benching::Time([&] {
                     std::fill(q.begin(), q.end(), 0.0);
                     kernel.descend({gram.data(), real.data(), q.data(), scratch.data(), k, columns,
                                     columns, -127.0, 127.0, 254.0, 1});
                   }),
                   4.0 * k * k * static_cast<double>(columns), 0);
}

}  // namespace bitlite
