// Family gemv_s4: a row of float activations times 4-bit codes, by exact integer sums of products
// of codes with digits of the activations. A block of the row has one unit, a power of two, and an
// activation is a whole number of units: digits -128 .. 127 to the base 256, the lowest first.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kNibbles = 8;          // codes in a word, of neighbours in k, the first the lowest
constexpr int kDigits = 3;           // of activations whose blocks are even
constexpr int kMostDigits = 4;       // of those of blocks with outliers
constexpr int kPairs = 2;            // of digits, the lowest two and the others
constexpr int kColumnsS4 = 16;       // the least that a kernel takes
constexpr int kMostColumnsS4 = 64;   // and the most
constexpr int64_t kMostLines = 512;  // of a block: sums of pairs of digits fit in 32 bits

// y = clamp(bias + over blocks, in order: sum * unit * scale + row_sum * offset), by column. sum is
// of activations in units times (code - 8), or with offsets times code: two exact ones, of what the
// pairs of digits stand for, are rounded, and then once more together.
struct GemvS4Tile {
  const int8_t* x;     // [block][line][digit][2][4]: activations 0 2 4 6, then 1 3 5 7 of the line
  const float* units;  // [block]
  const int32_t* first;   // [block][kPairs], -8 times the sum of each pair of digits, or zeros
  const float* row_sums;  // [block], the sums of the activations; read only where there are offsets
  int digits;             // kDigits or kMostDigits
  int64_t blocks;
  int64_t lines;        // of eight in a block, kMostLines at most
  int64_t width;        // columns in a line, whole multiples of kColumnsS4
  const uint32_t* w;    // [block][line][width]
  const float* scale;   // [block][width]
  const float* offset;  // the same, or null
  const float* bias;    // [width]
  float* y;
  int64_t n;  // columns
  float lo, hi;
};

struct gemv_s4 {
  using Fn = void(const GemvS4Tile&);
};

}  // namespace bitlite
