// Families reduce_rows_f32 and reduce_run_f32: pools and reductions.
#pragma once

#include <cstdint>

namespace bitlite {

enum class ReduceOp : int { kSum, kMax, kMin, kProd, kSumAbs, kSumSquare };

// y[p][c] = scale * reduce over all rows r and taps t of rows[r][p * step + t * tap_stride + c],
// clamped.
struct ReduceRowsF32Args {
  ReduceOp op;
  const float* const* rows;
  int64_t row_count, taps;
  int64_t tap_stride;
  float* y;
  int64_t n;
  float scale;
  float lo, hi;
  int64_t positions = 1, step = 0;
};

struct reduce_rows_f32 {
  using Fn = void(const ReduceRowsF32Args&);
};

// The reduction of x[0..n), n >= 1.
struct ReduceRunF32Args {
  ReduceOp op;
  const float* x;
  int64_t n;
};

struct reduce_run_f32 {
  using Fn = float(const ReduceRunF32Args&);
};

}  // namespace bitlite
