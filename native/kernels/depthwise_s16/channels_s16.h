// Some channels one by one: the definition of the vector code, and the end of a row.
#pragma once

#include "depthwise_s16.h"
#include "requant.h"

namespace bitlite {
namespace {

inline void ChannelsS16(const DepthwiseS16Row& t, int64_t first, int64_t last) {
  for (int64_t c = first; c < last; ++c) {
    const int16_t* w = t.w + (c / kChannelsS16 * t.pairs * kChannelsS16 + c % kChannelsS16) * 2;
    int32_t acc = t.bias[c];
    for (int32_t p = 0; p < t.pairs; ++p, w += 2 * kChannelsS16) {
      acc += t.taps[2 * p][c] * w[0] + t.taps[2 * p + 1][c] * w[1];
    }
    float v = static_cast<float>(acc) * t.multiplier[c];
    v = v >= t.low ? v : t.low;
    v = v > t.high ? t.high : v;
    t.y[c] = static_cast<int16_t>(RneSmall(v));
  }
}

}  // namespace
}  // namespace bitlite
