// Families winograd_in_f32 and winograd_out_f32: the transforms of a float 3x3 convolution of
// stride 1 around its products, which gemm_f32 does point by point.
//
// The points are 0, +-sqrt(2), +-1/sqrt(2) and infinity: no element of a transform is larger than
// 2 sqrt(2), so that rounding errors stay near those of the plain sums (about twice, where the
// usual points 0, +-1, +-2 give ten times). A value that is not finite makes the 4x4 outputs of its
// windows NaN.
#pragma once

#include <cstdint>

#include "winograd.h"

namespace bitlite {

struct WinogradInF32 {
  const float* const* pixels;  // [36] the channels of each pixel of a window, line by line
  int64_t channels;
  float* v;  // [36][channels] B^T x B
};

struct winograd_in_f32 {
  using Fn = void(const WinogradInF32&);
};

struct WinogradOutF32 {
  // Output channels of a call; the distance from point to point in m.
  static constexpr int kChannels = 16;

  const float* m;         // [36][kChannels] sums of products
  int channels;           // of them that exist
  int lines, columns;     // of the 4x4 outputs that exist
  const float* bias;      // kChannels
  const float* residual;  // added before the clamp; may be null, may be y
  int64_t residual_line, residual_pixel;
  float* y;
  int64_t y_line, y_pixel;  // floats from one to the next
  float lo, hi;
};

struct winograd_out_f32 {
  using Fn = void(const WinogradOutF32&);
};

}  // namespace bitlite
