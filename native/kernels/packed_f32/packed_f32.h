// Family packed_f32: a few rows of float activations times weights that stay 8- or 4-bit codes and
// become floats in registers.
#pragma once

#include <cstdint>

#include "kernels/gemv_s4/gemv_s4.h"

namespace bitlite {

constexpr int kPackedPanel = 16;

// y = clamp(bias + over blocks of k: (sum of x) * offset + (sum of x * code) * scale), by column,
// the blocks in order; of 4 bits without offset (sum of x * (code - centre)) * scale, in which a
// weight of 0 is exact. A matrix without blocks is one. All that a tile reads of weights lies in
// the order in which it reads: lines of `width` columns, n rounded up to whole panels.
struct PackedF32Tile {
  const float* const* a;  // where each row starts
  int rows;               // 1 .. mr of the kernel
  int64_t k;
  int64_t block;  // k of a block, even where there are several
  int bits;  // 8: w is [k][width] int8; 4: [block][line][width] words of kNibbles codes + 8, the
             // first k the lowest, and offset knows of the 8
  int64_t width;
  const uint8_t* w;
  const float* scale;   // [block][width]
  const float* offset;  // the same; null: -centre * scale
  float centre;
  const float* bias;      // [width]
  const float* row_sums;  // [row][block], the sums of x
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
