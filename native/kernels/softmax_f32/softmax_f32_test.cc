// softmax_f32 and norm_f32 against plain loops in double.
#include <cmath>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
template <>
void TestKernel(const Kernel<softmax_f32>& entry) {
  for (int n : kSizes) {
    Random random(static_cast<uint32_t>(n));
    const Buffer x = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
    for (bool log : {false, true}) {
      const float beta = log ? 1.0f : 0.5f;
      entry.fn({x.get(), y.get(), n, beta, log});
      double sum = 0;
      for (int i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) * beta);
      for (int i = 0; i < n; ++i) {
        const double p = std::exp(static_cast<double>(x[i]) * beta) / sum;
        CHECK(Near(y[i], log ? std::log(p) : p, 2e-6)) << entry.symbol << " n=" << n;
      }
    }
  }
}

template <>
void TestKernel(const Kernel<norm_f32>& entry) {
  for (int n : kSizes) {
    Random random(static_cast<uint32_t>(n));
    const Buffer x = Normal(static_cast<size_t>(n), random),
                 s = Normal(static_cast<size_t>(n), random);
    const Buffer o = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
    double mean = 0, variance = 0;
    for (int i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
    for (int i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / n;
    for (bool standardize : {false, true}) {
      for (bool affine : {false, true}) {
        entry.fn({x.get(), y.get(), n, affine ? s.get() : nullptr, affine ? o.get() : nullptr,
                  standardize, 1e-3f});
        for (int i = 0; i < n; ++i) {
          double want = standardize ? (x[i] - mean) / std::sqrt(variance + 1e-3) : x[i];
          if (affine) want = want * s[i] + o[i];
          CHECK(Near(y[i], want, 1e-5)) << entry.symbol << " n=" << n;
        }
      }
    }
  }
}

// Times of softmax_f32 and norm_f32.
namespace {

using benching::kElements;

}  // namespace

template <>
void TimeKernel(const Kernel<softmax_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const auto fn = entry.fn;
  benching::ReportElements(entry.symbol, "softmax", benching::Time([&] {
                             fn({x.data(), y.data(), kElements, 1.0f, false});
                           }));
}

template <>
void TimeKernel(const Kernel<norm_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const auto fn = entry.fn;
  benching::ReportElements(entry.symbol, "layer norm", benching::Time([&] {
                             fn({x.data(), y.data(), kElements, x.data(), x.data(), true, 1e-5f});
                           }));
}

}  // namespace bitlite
