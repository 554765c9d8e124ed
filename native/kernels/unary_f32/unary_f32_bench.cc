// Times of unary_f32.
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
namespace {

using benching::kElements;

}  // namespace

template <>
void TimeKernel(const Kernel<unary_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const auto fn = entry.fn;
  const auto time = [&](UnaryOp op) {
    return benching::Time([&] { fn({op, x.data(), y.data(), kElements, 0.0f, 6.0f}); });
  };
  benching::ReportElements(entry.symbol, "clamp", time(UnaryOp::kClamp));
  benching::ReportElements(entry.symbol, "sigmoid", time(UnaryOp::kSigmoid));
  benching::ReportElements(entry.symbol, "tanh", time(UnaryOp::kTanh));
  benching::ReportElements(entry.symbol, "erf gelu", time(UnaryOp::kGeluErf));
}

}  // namespace bitlite
