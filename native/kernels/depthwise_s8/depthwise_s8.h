// Rows of a depthwise convolution on int8. The driver copies the padded input of a band into planes
// of `block` channels, [line][column][block][rows] in the kernel's form, where a line holds `rows`
// rows; a kernel computes one row of outputs of one plane.
//
// Taps are multiplied in groups of `group` (what one dot product instruction adds up), with zero
// weights where the last one is not full. With lines of two rows a group is the two activations of
// a line, so that what one instruction takes lies side by side; outputs that begin on the second
// row of a line have taps and weights of their own. Weights are [tap group][position][group] with
// positions permuted by `column`, as are bias and multipliers.
#pragma once

#include <cstdint>

#include "kernels/gemm_s8/gemm_s8.h"

namespace bitlite {

struct DepthwiseS8Row {
  const uint8_t* x;     // the first tap of the first output
  const int32_t* taps;  // groups * group byte offsets; `groups` with lines of two rows
  int32_t groups;
  int64_t x_step;  // bytes from output to output
  int64_t x_row;   // bytes from line to line
  const void* w;   // int8, or int16 where wide_weights
  const int32_t* bias;
  const float* multiplier;
  // With a mantissa, y rounds by these instead of `multiplier`: RequantizeGemmlowp of columns that
  // fit.
  GemmlowpMultipliers gemmlowp;
  int64_t outputs;
  int32_t n;  // valid channels
  // One of both. y: requantized, in channel order. acc: int32, `block` per output in packed order.
  // With parts > 1 a plane holds so many rows of few channels side by side: part p goes to y[p], or
  // nowhere if that is null.
  int32_t parts;
  int8_t* y[4];
  int64_t y_step;
  int32_t* acc;
  int32_t zero_point, qmin, qmax;
};

struct DepthwiseS8Kernel {
  int block, group;
  LhsPacking lhs_packing;
  bool wide_weights;
  // Kernels of 3x3 with column stride 1 or 2 have their taps grouped by column, three and a zero.
  bool groups_columns_of_3;
  int max_parts;         // 1, 2 or 4: see DepthwiseS8Row::parts
  int (*column)(int i);  // the channel at position i
  // row3x3: for 3x3 kernels without dilation, columns stride 1 or 2; null where there is none.
  void (*row)(const DepthwiseS8Row&);
  void (*row3x3)(const DepthwiseS8Row&, int stride);
  // `pixels` pixels of n <= block channels at distance src_step, to planes of `block` channels.
  void (*load)(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n);
  // The same for n <= 16 or 32 channels, leaving what lies behind 16 or 32 alone; null without
  // parts.
  void (*load_part)(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n);
  // Rows of a line, 1 or 2. With 2 there is load_pair instead of load, which takes the zero point
  // off: so what is outside the image adds nothing. A row that is null is outside.
  int rows = 1;
  void (*load_pair)(uint8_t* dst, const int8_t* first, const int8_t* second, int64_t src_step,
                    int64_t pixels, int n, int32_t zero_point) = nullptr;
  // About what an output takes, and each of its taps, for the cost of a step.
  double output_ns = 0.03, tap_ns = 0.005;
};

// Family depthwise_s8: the exported function of a kernel gives the struct above.
struct depthwise_s8 {
  using Fn = const DepthwiseS8Kernel&();
};

}  // namespace bitlite
