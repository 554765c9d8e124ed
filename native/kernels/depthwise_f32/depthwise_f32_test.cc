// depthwise_f32 against plain loops in double.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

void CheckDepthwise(const Kernel<depthwise_f32>& entry, int channels, int kernel, int stride,
                    int dilation, int pad) {
  Random random(static_cast<uint32_t>(channels * 100 + kernel));
  const int in_w = 11, lines = 2;
  const int out_w = (in_w + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  if (out_w < 1) return;
  const Buffer x = Normal(static_cast<size_t>(lines * in_w * channels), random);
  const Buffer w = Normal(static_cast<size_t>(lines * kernel * channels), random);
  const Buffer b = Normal(static_cast<size_t>(channels), random);
  const Buffer y(new float[static_cast<size_t>(out_w * channels)]);
  const float* rows[lines] = {x.get(), x.get() + in_w * channels};
  const DepthwiseF32Row job = {rows, lines, w.get(), b.get(), y.get(),  channels, 0,     channels,
                               in_w, out_w, kernel,  stride,  dilation, pad,      -2.0f, 2.0f};
  entry.fn(job);
  for (int o = 0; o < out_w; ++o) {
    for (int c = 0; c < channels; ++c) {
      double want = b[c];
      for (int l = 0; l < lines; ++l) {
        for (int k = 0; k < kernel; ++k) {
          const int i = o * stride - pad + k * dilation;
          if (i < 0 || i >= in_w) continue;
          want +=
              static_cast<double>(rows[l][i * channels + c]) * w[(l * kernel + k) * channels + c];
        }
      }
      want = std::min(2.0, std::max(-2.0, want));
      CHECK(Near(y[o * channels + c], want, 1e-5)) << entry.symbol << " channels=" << channels;
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<depthwise_f32>& entry) {
  for (int channels : kSizes) {
    for (int kernel : {1, 2, 3, 5}) {
      for (int stride : {1, 2, 3}) {
        for (int dilation : {1, 2})
          CheckDepthwise(entry, channels, kernel, stride, dilation, kernel / 2);
      }
    }
  }
}

// Times of depthwise_f32 against the peak of fused multiply-adds.
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
