// What choosing codes of weights asks of a row, the weights of an output channel: the grid that
// fits it best, moments, errors, codes held in pairs. Written once, in weight_rows.inc, and
// compiled for every instruction set: kLanes sums take turns and are added up in order, nothing is
// contracted, so the results are the same bits.
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
  // The largest magnitude that two neighbours 2i and 2i + 1 of the whole numbers nearest to
  // w / scale add up to; |w / scale| < 2^22.
  float (*largest_pair)(const float* w, int64_t n, float scale);
  // errors[count]: the squared error of w on the codes of each scale that `held8` would choose.
  void (*held_errors)(const float* w, int64_t n, const float* scales, int count, int most,
                      int limit, double* errors);
  // Codes within +-limit for w / scale, halves to even. Where two neighbours of one sign would add
  // up to more than `most`, limit <= most <= 2 limit, both give way by half of the excess.
  void (*held8)(const float* w, int64_t n, double scale, int most, int limit, int8_t* q);
};

// Family weight_rows: the exported function of a kernel gives the struct above.
struct weight_rows {
  using Fn = const WeightRowKernel&();
};

}  // namespace bitlite
