// unary_f32 against the functions of the standard library in double.
#include <algorithm>
#include <cmath>

#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
template <>
void TestKernel(const Kernel<unary_f32>& entry) {
  struct Case {
    UnaryOp op;
    double (*want)(double);
    float a, b;
  };
  const Case cases[] = {
      {UnaryOp::kClamp, [](double x) { return std::min(1.0, std::max(-1.0, x)); }, -1.0f, 1.0f},
      {UnaryOp::kLeakyRelu, [](double x) { return x < 0 ? 0.5 * x : x; }, 0.5f, 0},
      {UnaryOp::kElu, [](double x) { return x < 0 ? std::expm1(x) : x; }, 1.0f, 0},
      {UnaryOp::kSelu, [](double x) { return 2.0 * (x < 0 ? 3.0 * std::expm1(x) : x); }, 3.0f,
       2.0f},
      {UnaryOp::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 0, 0},
      {UnaryOp::kTanh, [](double x) { return std::tanh(x); }, 0, 0},
      {UnaryOp::kHardSwish, [](double x) { return x * std::min(6.0, std::max(0.0, x + 3)) / 6; }, 0,
       0},
      {UnaryOp::kHardSigmoid, [](double x) { return std::min(1.0, std::max(0.0, 0.25 * x + 0.5)); },
       0.25f, 0.5f},
      {UnaryOp::kSwish, [](double x) { return x / (1 + std::exp(-x)); }, 0, 0},
      {UnaryOp::kGeluErf, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, 0,
       0},
      {UnaryOp::kGeluTanh,
       [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       0, 0},
      {UnaryOp::kErf, [](double x) { return std::erf(x); }, 0, 0},
      {UnaryOp::kExp, [](double x) { return std::exp(x); }, 0, 0},
      {UnaryOp::kLog, [](double x) { return std::log(x); }, 0, 0},
      {UnaryOp::kSqrt, [](double x) { return std::sqrt(x); }, 0, 0},
      {UnaryOp::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, 0, 0},
      {UnaryOp::kAbs, [](double x) { return std::fabs(x); }, 0, 0},
      {UnaryOp::kNeg, [](double x) { return -x; }, 0, 0},
      {UnaryOp::kSquare, [](double x) { return x * x; }, 0, 0},
      {UnaryOp::kReciprocal, [](double x) { return 1 / x; }, 0, 0},
      {UnaryOp::kFloor, [](double x) { return std::floor(x); }, 0, 0},
      {UnaryOp::kCeil, [](double x) { return std::ceil(x); }, 0, 0},
      {UnaryOp::kRound, [](double x) { return std::nearbyint(x); }, 0, 0},
      {UnaryOp::kSoftplus, [](double x) { return std::log1p(std::exp(x)); }, 0, 0},
      {UnaryOp::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, 0, 0},
  };
  for (const Case& c : cases) {
    for (int n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      const Buffer x = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
      const bool positive =
          c.op == UnaryOp::kLog || c.op == UnaryOp::kSqrt || c.op == UnaryOp::kRsqrt;
      for (int i = 0; i < n && positive; ++i) x[i] = std::fabs(x[i]) + 0.01f;
      entry.fn({c.op, x.get(), y.get(), n, c.a, c.b});
      for (int i = 0; i < n; ++i) {
        CHECK(Near(y[i], c.want(x[i]), 1e-6))
            << entry.symbol << " op " << static_cast<int>(c.op) << " of " << x[i];
      }
    }
  }
}

}  // namespace bitlite
