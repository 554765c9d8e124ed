// Times of packed_f32 against the peak of fused multiply-adds.
#include <cstring>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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
      const double seconds = benching::Time([&] { entry.fn(tile); });
      benching::Report(std::string(entry.symbol) + " " + std::to_string(bits) + " bits, " +
                           std::to_string(rows) + " rows",
                       seconds, 2.0 * static_cast<double>(rows * n * k), peak);
    }
  }
}

}  // namespace bitlite
