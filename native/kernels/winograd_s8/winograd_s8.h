// 3x3 convolutions of stride 1 in 4 times fewer multiplications: Winograd's algorithm in integers,
// exact, with the rows of G multiplied until they are integers, which A undoes, so that Y is 24 *
// 24 times the sum. With x - zero_point in [-255, 255] what B gives is within 100 * 255 and what G
// gives within 49 * 128, both int16; products and sums are taken modulo 2^32. There Y = 64 * 9 *
// sum, 9 has an inverse, and a shift by 6 gives the sum when it lies in [-2^25, 2^25): see
// kWinogradMaxSum.
#pragma once

#include <cstdint>

#include "kernels/gemm_s8/gemm_s8.h"
#include "kernels/winograd_f32/winograd.h"

namespace bitlite {

constexpr int64_t kWinogradMaxSum = (int64_t{1} << 25) - 1;

constexpr int kWinogradG[kWinogradIn][3] = {{6, 0, 0}, {-1, -1, -1}, {-1, 1, -1},
                                            {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};

struct WinogradS8 {
  // All of 16 channels: int16 vectors of the input, and columns of a block of weights.
  static constexpr int kChannels = 16;

  // B^T (x - zero_point) B of a window of 6x6 pixels at x, into v[point * point_step + channel];
  // `channels` is a multiple of 16. row, pixel: distances in x.
  void (*input)(const int8_t* x, int64_t row, int64_t pixel, int64_t channels, int32_t zero_point,
                int16_t* v, int64_t point_step);

  // One point: m[tile * m_step + column] of 16 columns for `tiles` rows of v, which are 2 * steps
  // long. Weights u are [step][column][2].
  void (*product)(const int16_t* v, int64_t tiles, int64_t steps, const int16_t* u, int32_t* m,
                  int64_t m_step);

  // The outputs of one window from m[point][16], with the epilogue of `tile`: the first rows x
  // columns of 4x4 pixels, distances in elements; tile.y_stride and tile.residual_stride lead from
  // pixel to pixel.
  void (*output)(const int32_t* m, const GemmS8Tile& tile, int rows, int columns, int64_t y_row,
                 int64_t residual_row);
};

}  // namespace bitlite
