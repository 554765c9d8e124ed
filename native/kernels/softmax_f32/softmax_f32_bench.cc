// Times of softmax_f32 and norm_f32.
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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
