// Family gemm_f32: a few rows of A times packed weights, with bias, residual and clamp.
#pragma once

#include <cstdint>

namespace bitlite {

// Weights are packed in panels of this many output columns: [panel][k][kGemmPanel], zero padded.
constexpr int kGemmPanel = 16;

struct GemmF32Tile {
  const float* const* a;  // [taps][rows]: where the kc values of a tap start for each row
  int rows;               // 1 .. mr of the kernel
  int64_t taps, kc;       // the reduction length is taps * kc
  const float* w;         // first panel
  int64_t panel_stride;   // floats from one panel to the next, taps * kc * kGemmPanel
  const float* bias;      // n rounded up to whole panels
  const float* residual;  // added before the clamp, rows at ldr; may be null, may be y
  int64_t ldr;
  float* y;
  int64_t ldy;
  int64_t n;  // columns
  float lo, hi;
};

// Each output is summed over k in ascending order whatever the tile, so tiling and threads never
// change a bit.
struct gemm_f32 {
  using Fn = void(const GemmF32Tile&);
};

}  // namespace bitlite
