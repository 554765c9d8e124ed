// What the tiles' sums become, one by one: the definition of the vector code.
#pragma once

#include "gemm_s16.h"
#include "requant.h"

namespace bitlite {
namespace {

// Sums of a row of the tile, as the outputs of its valid columns.
inline void StoreS16(const GemmS16Tile& t, const int64_t* acc, int r) {
  for (int c = 0; c < t.n; ++c) {
    const int64_t at = r * t.y_stride + c;
    float v = static_cast<float>(acc[c]) * t.multiplier[c];
    if (t.real) v = v + t.bias_f32[c];
    v = v >= t.low ? v : t.low;
    v = v > t.high ? t.high : v;
    if (t.real) {
      static_cast<float*>(t.y)[at] = v;
    } else {
      static_cast<int16_t*>(t.y)[at] = static_cast<int16_t>(RneSmall(v));
    }
  }
}

}  // namespace
}  // namespace bitlite
