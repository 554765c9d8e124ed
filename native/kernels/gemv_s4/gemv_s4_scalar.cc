#include <algorithm>
#include <cmath>

#include "gemv_s4.h"

namespace bitlite {

void gemv_s4_scalar(const GemvS4Tile& t) {
  for (int64_t j = 0; j < t.n; ++j) {
    float y = t.bias[j];
    const int8_t* x = t.x;
    const uint32_t* w = t.w + j;
    for (int64_t b = 0; b < t.blocks; ++b) {
      int32_t sums[kPairs];
      std::copy(t.first + b * kPairs, t.first + (b + 1) * kPairs, sums);
      for (int64_t l = 0; l < t.lines; ++l, w += t.width, x += t.digits * kNibbles) {
        for (int i = 0; i < kNibbles; ++i) {
          const int code = static_cast<int>(*w >> (4 * i) & 15);
          for (int d = 0; d < t.digits; ++d) {
            sums[d / 2] += code * x[(2 * d + i % 2) * 4 + i / 2] * (d % 2 == 0 ? 1 : 256);
          }
        }
      }
      const float sum =
          std::fma(static_cast<float>(sums[1]), 65536.0f, static_cast<float>(sums[0]));
      const int64_t at = b * t.width + j;
      if (t.offset != nullptr) y = std::fma(t.row_sums[b], t.offset[at], y);
      y = std::fma(sum * t.units[b], t.scale[at], y);
    }
    t.y[j] = std::min(t.hi, std::max(t.lo, y));
  }
}

}  // namespace bitlite
