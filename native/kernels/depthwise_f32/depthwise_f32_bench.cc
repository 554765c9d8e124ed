// Times of depthwise_f32 against the peak of fused multiply-adds.
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
template <>
void TimeKernel(const Kernel<depthwise_f32>& entry) {
  struct Case {
    int64_t width, channels, kernel, stride;
  };
  const double peak = benching::FmaPeakGops(entry.symbol);
  for (const Case& c :
       {Case{56, 144, 3, 1}, Case{14, 384, 3, 1}, Case{56, 144, 3, 2}, Case{28, 96, 5, 1}}) {
    const int64_t out = (c.width - 1) / c.stride + 1, line = c.width * c.channels;
    const Aligned<float> x = benching::Floats(c.kernel * line),
                         w = benching::Floats(c.kernel * c.kernel * c.channels);
    const Aligned<float> bias = benching::Floats(c.channels);
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
    const double seconds = benching::Time([&] { entry.fn(job); });
    benching::Report(std::string(entry.symbol) + " " + std::to_string(c.kernel) + "x" +
                         std::to_string(c.kernel) + " stride " + std::to_string(c.stride) +
                         ", line of " + std::to_string(c.width) + "x" + std::to_string(c.channels),
                     seconds, 2.0 * static_cast<double>(out * c.channels * c.kernel * c.kernel),
                     peak);
  }
}

}  // namespace bitlite
