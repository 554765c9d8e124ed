// reduce_rows_f32 and reduce_run_f32 against plain loops in double.
#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

double Reduced(ReduceOp op, const std::vector<double>& values) {
  double y = op == ReduceOp::kProd  ? 1
             : op == ReduceOp::kMax ? -kInf
             : op == ReduceOp::kMin ? kInf
                                    : 0;
  for (double v : values) {
    switch (op) {
      case ReduceOp::kSum:
        y += v;
        break;
      case ReduceOp::kMax:
        y = std::max(y, v);
        break;
      case ReduceOp::kMin:
        y = std::min(y, v);
        break;
      case ReduceOp::kProd:
        y *= v;
        break;
      case ReduceOp::kSumAbs:
        y += std::fabs(v);
        break;
      case ReduceOp::kSumSquare:
        y += v * v;
        break;
    }
  }
  return y;
}

constexpr ReduceOp kReduceOps[] = {ReduceOp::kSum,  ReduceOp::kMax,    ReduceOp::kMin,
                                   ReduceOp::kProd, ReduceOp::kSumAbs, ReduceOp::kSumSquare};

}  // namespace

template <>
void TestKernel(const Kernel<reduce_rows_f32>& entry) {
  for (ReduceOp op : kReduceOps) {
    for (int n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      const int taps = 3;
      const Buffer x = Normal(static_cast<size_t>(2 * taps * n), random);
      const Buffer y(new float[static_cast<size_t>(n)]);
      const float* rows[] = {x.get(), x.get() + taps * n};
      entry.fn({op, rows, 2, taps, n, y.get(), n, 0.5f, -9.0f, 9.0f});
      for (int c = 0; c < n; ++c) {
        std::vector<double> values;
        for (int i = 0; i < 2 * taps; ++i) values.push_back(x[i * n + c]);
        const double want = std::min(9.0, std::max(-9.0, 0.5 * Reduced(op, values)));
        CHECK(Near(y[c], want, 1e-5)) << entry.symbol << " n=" << n;
      }
    }
  }
  for (int n : kSizes) {  // windows of 2 taps, each a tap further than the one before
    Random random(static_cast<uint32_t>(n));
    constexpr int kPositions = 3;
    const Buffer x = Normal(static_cast<size_t>((kPositions + 1) * n), random);
    const Buffer y(new float[static_cast<size_t>(kPositions * n)]);
    const float* rows[] = {x.get()};
    entry.fn({ReduceOp::kMax, rows, 1, 2, n, y.get(), n, 1.0f, -kInf, kInf, kPositions, n});
    for (int i = 0; i < kPositions * n; ++i) {
      CHECK(y[i] == std::max(x[i], x[i + n])) << entry.symbol << " n=" << n;
    }
  }
}

template <>
void TestKernel(const Kernel<reduce_run_f32>& entry) {
  for (ReduceOp op : kReduceOps) {
    for (int n : {1, 2, 7, 16, 63, 64, 65, 200}) {
      Random random(static_cast<uint32_t>(n));
      const Buffer x = Normal(static_cast<size_t>(n), random);
      const float y = entry.fn({op, x.get(), n});
      CHECK(Near(y, Reduced(op, {x.get(), x.get() + n}), 1e-5)) << entry.symbol << " n=" << n;
    }
  }
}

// Times of the reductions.
namespace {

using benching::kElements;

}  // namespace

template <>
void TimeKernel(const Kernel<reduce_rows_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const float* rows[] = {x.data()};
  const auto fn = entry.fn;
  benching::ReportElements(
      entry.symbol, "mean of 64 lines of 64", benching::Time([&] {
        fn({ReduceOp::kSum, rows, 1, 64, 64, y.data(), 64, 1.0f / 64, -1e30f, 1e30f});
      }));
  constexpr int64_t kWindows = kElements / 64;
  const float* both[] = {x.data(), x.data() + kElements / 2};
  benching::ReportElements(
      entry.symbol, "largest of 2x2 in 16 channels", benching::Time([&] {
        fn({ReduceOp::kMax, both, 2, 2, 16, y.data(), 16, 1.0f, -1e30f, 1e30f, kWindows, 32});
      }));
}

template <>
void TimeKernel(const Kernel<reduce_run_f32>& entry) {
  const Aligned<float> x = benching::Floats(kElements);
  Aligned<float> y(kElements);
  const auto fn = entry.fn;
  benching::ReportElements(entry.symbol, "sum of a run", benching::Time([&] {
                             y[0] = fn({ReduceOp::kSum, x.data(), kElements});
                           }));
}

}  // namespace bitlite
