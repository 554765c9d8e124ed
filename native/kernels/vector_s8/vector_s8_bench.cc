// Times of the elementwise int8 functions: billions of codes per second.
#include <string>
#include <vector>

#include "tests/benching.h"
#include "tests/kernel_cases.h"

namespace bitlite {

template <>
void TimeKernel(const Kernel<vector_s8>& entry) {
  using benching::kElements;
  const VectorS8Kernel& kernel = entry.fn();
  const OutputCodesS8 out = {3, -128, 127};
  const std::vector<int8_t> a(kElements, 17), b(kElements, -5), table(256, 1);
  std::vector<int8_t> y(kElements);
  std::vector<uint8_t> near_tie(kElements);
  std::vector<int32_t> acc(kElements, 12345), mantissa(kElements, 1 << 30), exponent(kElements, -5);
  std::vector<float> reals(kElements, 0.37f);
  const int64_t n = kElements, side = 64;
  const BinaryS8Args t = {a.data(), b.data(), 1, 1, y.data(), n, 4, -7, 0.3f, 0.7f, out};
  const RoundingTieBand band = {0.499f, 0.001f};
  const std::vector<ColumnBlendS8> columns(side, {0, side, 512, 512});
  const auto report = [&](const char* what, auto call) {
    benching::ReportElements(entry.symbol, what, benching::Time(call));
  };
  report("add", [&] { kernel.add(t); });
  report("mul", [&] { kernel.mul(t); });
  report("prelu", [&] { kernel.prelu(t); });
  report("add, flagging ties", [&] { kernel.add_flagging_ties(t, band, near_tie.data()); });
  report("mul, flagging ties", [&] { kernel.mul_flagging_ties(t, band, near_tie.data()); });
  report("quantize", [&] { kernel.quantize(reals.data(), y.data(), n, 9.0f, out); });
  report("quantize, fused", [&] { kernel.quantize_fused(reals.data(), y.data(), n, 9.0f, out); });
  report("dequantize", [&] { kernel.dequantize(a.data(), reals.data(), n, 3, 0.1f); });
  report("requantize", [&] { kernel.requantize(a.data(), y.data(), n, 3, 0.7f, out); });
  report("requantize of int32",
         [&] { kernel.requantize_s32(acc.data(), y.data(), n, 9, 1e-3f, out); });
  report("requantize of int32, gemmlowp", [&] {
    kernel.requantize_s32_gemmlowp(acc.data(), y.data(), n, mantissa.data(), exponent.data(), out);
  });
  report("maximum", [&] { kernel.maximum(y.data(), a.data(), n); });
  report("minimum", [&] { kernel.minimum(y.data(), a.data(), n); });
  report("largest", [&] { y[0] = kernel.largest(a.data(), n); });
  report("smallest", [&] { y[0] = kernel.smallest(a.data(), n); });
  report("sum", [&] { acc[0] = static_cast<int32_t>(kernel.sum(a.data(), n)); });
  report("largest of 64 rows",
         [&] { kernel.largest_of_rows(a.data(), side, side, side, y.data()); });
  report("smallest of 64 rows",
         [&] { kernel.smallest_of_rows(a.data(), side, side, side, y.data()); });
  report("sum of 64 rows",
         [&] { kernel.sum_of_rows(a.data(), side, side, side, acc.data(), false); });
  report("requantize of window sums", [&] {
    kernel.requantize_window_sums(acc.data(), side, 9, y.data(), n - 8 * side, 9, 1e-3f, out);
  });
  report("blend of columns",
         [&] { kernel.blend_columns(a.data(), columns.data(), side, side, acc.data()); });
  report("blend of rows",
         [&] { kernel.blend_rows(acc.data(), acc.data(), n, 512, 512, y.data()); });
  report("clamp", [&] { kernel.clamp(a.data(), y.data(), n, -100, 100); });
  report("lookup", [&] { kernel.lookup(a.data(), y.data(), n, table.data()); });
}

}  // namespace bitlite
