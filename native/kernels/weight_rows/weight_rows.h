// What choosing codes of weights asks of a row, the weights of an output channel: the grid that
// fits it best, moments, errors. Written once, in weight_rows.inc, and compiled for every
// instruction set: kLanes sums take turns and are added up in order, nothing is contracted, so the
// results are the same bits.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kLanes = 16;  // sums of a row, which take its elements in turns

// The grid scale * u + low, u = 0 .. levels, of a row less `middle`, its mean.
struct Grid {
  float scale, low, middle;
};

struct WeightRowKernel {
  // Fits a grid to w [n], n > 0: from the row's own range times each of `count` factors three
  // steps of rounding and regression (Lloyd), the least squared error of all. Codes are u - zero;
  // those of a row of a range below `flat` are 0. scratch [n]; levels <= 255.
  Grid (*fit)(const float* w, int64_t n, const float* factors, int count, int levels, int zero,
              float flat, float* scratch, int8_t* codes);
  // Mean of w [n], n > 0, and the sum of squares about it.
  void (*moments)(const float* w, int64_t n, double* mean, double* squares);
  // The whole number nearest to w / scale + zero, halves away from zero, within [low, high].
  void (*nearest8)(const float* w, int64_t n, double scale, double zero, double low, double high,
                   int8_t* q);
  void (*nearest16)(const float* w, int64_t n, double scale, double zero, double low, double high,
                    int16_t* q);
  // Sum and sum of squares of codes, exact: n < 2^32.
  void (*codes8)(const int8_t* q, int64_t n, int64_t* sum, int64_t* squares);
  void (*codes16)(const int16_t* q, int64_t n, int64_t* sum, int64_t* squares);
  // Adds the squares of scale * (q - zero) + mean - w to *error, and those of w to *energy.
  void (*error8)(const float* w, const int8_t* q, int64_t n, double scale, double zero, double mean,
                 double* error, double* energy);
  void (*error16)(const float* w, const int16_t* q, int64_t n, double scale, double zero,
                  double mean, double* error, double* energy);
};

// Family weight_rows: the exported function of a kernel gives the struct above.
struct weight_rows {
  using Fn = const WeightRowKernel&();
};

}  // namespace bitlite
