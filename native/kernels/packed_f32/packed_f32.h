// Family packed_f32: a few rows of float activations times weights that stay 8- or 4-bit codes and
// become floats in registers.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kPackedPanel = 16;

// y = clamp((sum over k of x * code) * scale + (sum over k of x) * offset + bias), by column.
struct PackedF32Tile {
  const float* const* a;  // where each row starts
  int rows;               // 1 .. mr of the kernel
  int64_t k;
  int bits;  // 8: panels are [k][16] int8; 4: [(k + 1) / 2][16] bytes, code + 8 of the even k in
             // the low half, and scale and offset know of the 8
  const uint8_t* w;      // first panel
  int64_t panel_stride;  // bytes
  const float* scale;    // these three: n rounded up to whole panels
  const float* offset;
  const float* bias;
  const float* row_sums;  // sum of each row's x
  float* y;
  int64_t ldy;
  int64_t n;  // columns
  float lo, hi;
};

// Each output is summed over k in ascending order whatever the tile.
//
struct packed_f32 {
  using Fn = void(const PackedF32Tile&);
};

}  // namespace bitlite
