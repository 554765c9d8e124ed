// What calibration counts and solves: extremes, sums and histograms of activations, products of the
// rows that reach a layer, and the descent over its weight codes. The arithmetic is written once,
// in statistics.inc, and compiled for every instruction set: floats are added in a fixed order and
// never contracted, sums of integers are exact, so the results are the same bits.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kPanel = 16;        // columns of a panel of rows, and of a tile
constexpr int kTileRows = 8;      // rows of a tile of products
constexpr int kMostColumns = 32;  // of the weights that one descent takes

struct DescendArgs {
  const double* gram;  // [k, k], symmetric with a positive diagonal
  const double* real;  // [k, stride]
  double* q;           // [k, stride]
  double* scratch;     // [3, k, kMostColumns]
  int64_t k, stride, columns;
  double low, high, pair;
  int sweeps;
};

struct StatisticsKernel {
  // Per column of x [rows, width]: least and most, which hold values already, and += sum.
  void (*columns)(const float* x, int64_t rows, int64_t width, float* least, float* most,
                  double* sum);
  // Extremes of n > 0 values; false when one is not finite.
  bool (*extremes)(const float* x, int64_t n, float* least, float* most);
  // Bins of n values, clamped to [0, bins), as CountBins in observe.h has them; returns the zeros.
  int32_t (*bins)(const float* x, int32_t n, float factor, int32_t base, int32_t bins,
                  int32_t* index);
  // As `columns`, of codes; rows < 2^23.
  void (*codes)(const int8_t* x, int64_t rows, int64_t width, int8_t* least, int8_t* most,
                int32_t* sum);
  // count[c] += how many of column c are value[c]
  void (*equal)(const int8_t* x, int64_t rows, int64_t width, const int8_t* value, int32_t* count);
  // Products of columns summed over pairs of rows, [kTileRows, kPanel]. A panel holds kPanel
  // columns as [pairs, kPanel] of two int16; `left` begins at a column of its own panel.
  void (*products)(const int32_t* left, const int32_t* right, int64_t pairs, int32_t* tile);
  // sum[taps (taps + 1) / 2, channels] += x[r, i, c] x[r, j, c] for i <= j; channels <= stride.
  void (*products_by_channel)(const int16_t* x, int64_t rows, int64_t taps, int64_t stride,
                              int64_t channels, int32_t* sum);
  // As Descend in rounding.h, of the columns 0 .. args.columns <= descent.
  void (*descend)(const DescendArgs& args);
  // As Factor in rounding.h; scratch [2, k, kMostColumns].
  bool (*factor)(double* matrix, int64_t k, double* scratch);
  // As Eliminate in rounding.h, of the columns 0 .. args.columns <= descent; gram is the factor.
  void (*eliminate)(const DescendArgs& args);
  // As Multiply and Solve in rounding.h, of the columns 0 .. args.columns <= descent.
  void (*multiply)(const DescendArgs& args);
  void (*solve)(const DescendArgs& args);
  int descent;
};

// Family statistics: the exported function of a kernel gives the struct above.
struct statistics {
  using Fn = const StatisticsKernel&();
};

}  // namespace bitlite
