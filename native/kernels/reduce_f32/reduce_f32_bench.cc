// Times of the reductions.
#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {
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
