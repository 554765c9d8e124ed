// Times of binary_f32.
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
namespace {

using benching::kElements;

}  // namespace

template <>
void TimeKernel(const Kernel<binary_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const auto fn = entry.fn;
  benching::ReportElements(
      entry.symbol, "add", benching::Time([&] {
        fn({BinaryOp::kAdd, x.data(), x.data(), y.data(), kElements, false, false, -1e30f, 1e30f});
      }));
}

}  // namespace bitlite
