// Depthwise convolution on codes of 16 bits with int8 weights: all channels of one output.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kChannelsS16 = 16;

// y[c] = clamp(rne(float32(bias[c] + sum over taps of x[c] w[c]) * multiplier[c])). Channels come
// in blocks of kChannelsS16, the last one padded in all but x and y; the sums fit int32.
struct DepthwiseS16Row {
  const int16_t* const* taps;  // addresses of channel 0
  int32_t pairs;               // of taps
  const int16_t* w;            // [block][pair][kChannelsS16][2]
  const int32_t* bias;
  const float* multiplier;
  int16_t* y;
  int64_t channels;
  float low, high;
};

// Family depthwise_s16.
struct depthwise_s16 {
  using Fn = void(const DepthwiseS16Row&);
};

}  // namespace bitlite
