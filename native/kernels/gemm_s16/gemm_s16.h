// The tile kernels under convolution and fully connected on codes of 16 bits: mr rows of
// activations times a block of kColumnsS16 packed weight columns, int8 or int16, exact whatever the
// sums.
//
// A row is a list of segments, runs of activations at the same offsets from every row's address, as
// in gemm_s8.h. Packed weights are [block][segment][pair][column][2], zero behind a segment's
// odd end and a block's last column. A tile may read one activation behind a segment.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kColumnsS16 = 16;

// Pairs of a segment whose products are added in int32 to those of the runs before; `flush`: then
// what has been added goes into int64, before more would pass int32 whatever the activations.
struct GemmS16Run {
  int32_t segment, first, pairs;
  bool flush;
};

struct GemmS16Tile {
  const int16_t* const* rows;  // mr addresses
  const int32_t* segments;     // offsets from the row, in activations
  int32_t segment_count;
  int32_t segment_pairs;
  const GemmS16Run* runs;  // of this block, all its pairs in order, the last one flushed
  int32_t run_count;       // 0: all add up in int32, with the bias
  bool in_double;          // doubles hold the sums, whatever the activations
  const void* w;           // this block, int8 or int16
  const int64_t* bias;     // of the block's columns, as are the next three
  const float* multiplier;
  const float* bias_f32;  // float output only
  void* y;                // int16, float32 where `real`, int32 where `sums`
  int64_t y_stride;       // elements from row to row
  int32_t n;              // valid columns of the block
  bool real;        // clamp(float32(acc) * multiplier + bias_f32), else clamp(rne(float32(acc) *
                    // multiplier))
  float low, high;  // clamps, of codes whole numbers
  bool sums;        // the sums of all columns as they are, modulo 2^32, without bias; no runs
};

using GemmS16TileFn = void (*)(const GemmS16Tile&);

struct GemmS16Kernel {
  int max_mr;
  GemmS16TileFn (*tile)(int mr, bool wide);  // wide: int16 weights
  double macs_per_ns;                        // about, for the cost of a step

  // Of row_winograd_s16.h: what it multiplies of `windows` windows of four pixels, two apart, in a
  // row of x, v[point * plane + window * channels + channel]. False, v spoilt, where a code is
  // negative. channels: a multiple of 16.
  bool (*windows)(const int16_t* x, int64_t windows, int64_t channels, int16_t* v, int64_t plane);
  // And the first `count` of the two pixels that sums m[point * step + column] become, one row of
  // the tile each, by its clamps, multipliers and valid columns, and bias [kColumnsS16].
  void (*pixels)(const int32_t* m, int64_t step, const int32_t* bias, const GemmS16Tile& tile,
                 int count);
};

// Family gemm_s16: the exported function of a kernel gives the struct above.
struct gemm_s16 {
  using Fn = const GemmS16Kernel&();
};

}  // namespace bitlite
