// 3x3 convolutions of stride 1 on codes of 16 bits in two thirds of the multiplications: Winograd's
// F(2, 3) along each row, exact. Of four pixels a, b, d, e a row of the kernel f, g, h gives two
// outputs by the products of a - d with 2f, b + d with f + g + h, d - b with f - g + h and b - e
// with 2h, from which bias and sums come out twice. Codes that are not negative, as behind a ReLU,
// leave these differences within int16, and b + d - 2^15, too, whose offset the bias takes. All is
// modulo 2^32, which a bound on each column's sums makes exact.
#pragma once

#include <cstdint>
#include <vector>

#include "gemm_s16.h"
#include "packed_gemm_s16.h"
#include "step.h"

namespace bitlite {

class RowWinogradS16 {
 public:
  static constexpr int64_t kPoints = 4;

  // w [columns, 3, 3, channels]; `plane`: activations of one point, `row`: of a row of windows.
  RowWinogradS16(const GemmS16Kernel& kernel, const int8_t* w, int64_t columns, int64_t channels,
                 const OutputsS16& out, int64_t row, int64_t plane);

  // Whether it takes such weights: sums within 2^30 whatever the activations, channels of 16.
  static bool Takes(const int8_t* w, int64_t columns, int64_t channels, const OutputsS16& out);

  // Blocks [first, last) of `lines` rows of `width` pixels. v: of `Windows`; rows: room for the
  // windows of all lines. y at column 0 of the first pixel.
  void Run(const int16_t* v, const int16_t** rows, int64_t lines, int64_t width, int64_t first,
           int64_t last, int16_t* y, int64_t y_stride) const noexcept;

 private:
  const GemmS16Kernel& kernel_;
  const int64_t columns_, channels_;
  const float low_, high_;
  std::vector<int32_t> segments_;  // by point
  Aligned<int16_t> w_;             // by block and point
  Aligned<int32_t> bias_;
  Aligned<float> multiplier_;
};

}  // namespace bitlite
