// binary_f32 against plain loops in double.
#include <algorithm>
#include <cmath>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
template <>
void TestKernel(const Kernel<binary_f32>& entry) {
  struct Case {
    BinaryOp op;
    double (*want)(double, double);
  };
  const Case cases[] = {
      {BinaryOp::kAdd, [](double a, double b) { return a + b; }},
      {BinaryOp::kSub, [](double a, double b) { return a - b; }},
      {BinaryOp::kMul, [](double a, double b) { return a * b; }},
      {BinaryOp::kDiv, [](double a, double b) { return a / b; }},
      {BinaryOp::kMin, [](double a, double b) { return std::min(a, b); }},
      {BinaryOp::kMax, [](double a, double b) { return std::max(a, b); }},
      {BinaryOp::kSquaredDifference, [](double a, double b) { return (a - b) * (a - b); }},
      {BinaryOp::kPRelu, [](double a, double b) { return a < 0 ? a * b : a; }},
  };
  for (const Case& c : cases) {
    for (int n : kSizes) {
      for (int repeat = 0; repeat < 4; ++repeat) {
        Random random(static_cast<uint32_t>(n));
        const bool ra = repeat & 1, rb = repeat & 2;
        const Buffer a = Normal(ra ? 1 : static_cast<size_t>(n), random);
        const Buffer b = Normal(rb ? 1 : static_cast<size_t>(n), random);
        const Buffer y(new float[static_cast<size_t>(n)]);
        entry.fn({c.op, a.get(), b.get(), y.get(), n, ra, rb, -kInf, kInf});
        for (int i = 0; i < n; ++i) {
          CHECK(Near(y[i], c.want(a[ra ? 0 : i], b[rb ? 0 : i]), 1e-5))
              << entry.symbol << " op " << static_cast<int>(c.op);
        }
      }
      // Rows of a with one row of b, and with a value for each.
      for (bool rb : {false, true}) {
        constexpr int kRows = 3;
        Random random(static_cast<uint32_t>(n));
        const Buffer a = Normal(static_cast<size_t>(kRows * n), random);
        const Buffer b = Normal(static_cast<size_t>(std::max(kRows, n)), random);
        const Buffer y(new float[static_cast<size_t>(kRows * n)]);
        entry.fn({c.op, a.get(), b.get(), y.get(), n, false, rb, -kInf, kInf, kRows, n, rb});
        for (int i = 0; i < kRows * n; ++i) {
          CHECK(Near(y[i], c.want(a[i], b[rb ? i / n : i % n]), 1e-5))
              << entry.symbol << " op " << static_cast<int>(c.op) << " in rows";
        }
      }
    }
  }
}

// Times of binary_f32.
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
  benching::ReportElements(entry.symbol, "prelu of 16 channels", benching::Time([&] {
                             fn({BinaryOp::kPRelu, x.data(), x.data(), y.data(), 16, false, false,
                                 -1e30f, 1e30f, kElements / 16, 16, 0});
                           }));
}

}  // namespace bitlite
