// unary_f32 against the functions of the standard library in double.
#include <algorithm>
#include <cmath>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
template <>
void TestKernel(const Kernel<unary_f32>& entry) {
  struct Case {
    UnaryOp op;
    double (*want)(double);
    bool positive;
    float a, b;
  };
  const Case cases[] = {
#define BITLITE_UNARY(value, vec, want, positive, a, b) \
  {UnaryOp::value, [](double x) { return want; }, positive, a, b},
#include "unary_f32_functions.inc"
  };
  for (const Case& c : cases) {
    for (int n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      const Buffer x = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
      for (int i = 0; i < n && c.positive; ++i) x[i] = std::fabs(x[i]) + 0.01f;
      entry.fn({c.op, x.get(), y.get(), n, c.a, c.b});
      for (int i = 0; i < n; ++i) {
        CHECK(Near(y[i], c.want(x[i]), 1e-6))
            << entry.symbol << " op " << static_cast<int>(c.op) << " of " << x[i];
      }
    }
  }
}

// Times of unary_f32.
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
