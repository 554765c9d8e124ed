// Family depthwise_f32: one output row of a depthwise convolution, a range of channels.
#pragma once

#include <cstdint>

namespace bitlite {

struct DepthwiseF32Row {
  // Kernel rows that lie inside the image; each starts at input column 0 of the image row.
  const float* const* rows;
  int row_count;
  const float* w;  // first valid kernel row: [rows][kernel_w][channels], row_count rows of it
  const float* bias;
  float* y;
  int64_t channels;  // in x, w and y: distance of neighbouring columns
  int64_t c0, c1;    // channels to do
  int64_t in_w, out_w;
  int64_t kernel_w, stride, dilation, pad;
  float lo, hi;
};

struct depthwise_f32 {
  using Fn = void(const DepthwiseF32Row&);
};

}  // namespace bitlite
