// Elementwise int8 functions over runs of consecutive elements. The arithmetic is written once, in
// vector_s8.inc, and compiled for every instruction set; it rounds as requant.h says, so the
// results are the same bits.
#pragma once

#include <cstdint>

namespace bitlite {

// clamp(rne(value) + zero_point, qmin, qmax)
struct OutputCodesS8 {
  int32_t zero_point, qmin, qmax;
};

// The other operand of a binary function is a run, too, or one value.
struct BinaryS8Args {
  const int8_t* a;
  const int8_t* b;
  int64_t a_step, b_step;  // 1 or 0
  int8_t* y;
  int64_t n;
  int32_t a_zero, b_zero;
  // add: float32(a - a_zero) * lhs_scale + float32(b - b_zero) * rhs_scale    mul:
  // float32((a-a_zero)(b-b_zero))
  // * lhs_scale    prelu: with p = a - a_zero, p < 0 ? float32(p (b - b_zero)) * lhs_scale :
  // float32(p) * rhs_scale
  float lhs_scale, rhs_scale;
  OutputCodesS8 out;
};

// Rows of codes with values of the other operand, of each column or of each row: p = a - a_zero.
// Results before the clamp lie within 2^22. y may be a.
struct RowsS8Args {
  const int8_t* a;
  int8_t* y;
  int64_t rows, n;  // y[r * n + i]
  const float* b;   // b[i], or b[r] if by_row
  bool by_row;
  int32_t a_zero;
  float a_scale, b_scale;
  OutputCodesS8 out;
};

// Which values another way of rounding may take to another code, by |value - rne(value)| after the
// clamp: those of half_rest or more, and negative ones of whole_rest or less that were not clamped.
struct RoundingTieBand {
  float half_rest = 1, whole_rest = -1;
};

// What an output column is made of: left * x[at_left + c] + right * x[at_right + c], the weights
// together kOneS8.
constexpr int32_t kOneS8 = 1024;
struct ColumnBlendS8 {
  int64_t at_left, at_right;
  int16_t left, right;
};

// Windows of up to 255 taps at equal distances: y[w * channels + c] from the sum over t of
// x[w * step + taps[t] + c].
struct WindowsS8Args {
  const int8_t* x;
  int8_t* y;
  const int64_t* taps;
  int64_t tap_count, windows, step, channels;
  int32_t subtract;
  float m;
  OutputCodesS8 out;
};

// clamp((v_0 or v_1) >> shift), the greater one or the smaller one, with
// v_k = (x * slope[k] >> 8) + offset[k] within int16.
struct LinesS8 {
  int16_t slope[2], offset[2];
  bool greater;
  int32_t shift;
  int8_t low, high;
};

// t[d] <= 2^24 of the distance d to the greatest code of a row, whole and in halves.
struct SoftmaxS8Table {
  int32_t whole[256];
  uint16_t low[256], high[256];
  double y_scale;
};

struct VectorS8Kernel {
  void (*add)(const BinaryS8Args&);
  void (*mul)(const BinaryS8Args&);
  void (*prelu)(const BinaryS8Args&);
  void (*add_rows)(const RowsS8Args&);    // rne(p * a_scale + b)
  void (*mul_rows)(const RowsS8Args&);    // rne(p * b * b_scale)
  void (*prelu_rows)(const RowsS8Args&);  // rne(p < 0 ? p * b * b_scale : p * a_scale)
  // add and mul of operands that y does not overlap; near_tie[i] = 1 where RoundingTieBand says so,
  // else 0.
  void (*add_flagging_ties)(const BinaryS8Args&, const RoundingTieBand&, uint8_t* near_tie);
  void (*mul_flagging_ties)(const BinaryS8Args&, const RoundingTieBand&, uint8_t* near_tie);
  // rne(x * inverse), NaN gives the zero point.
  void (*quantize)(const float* x, int8_t* y, int64_t n, float inverse, const OutputCodesS8& out);
  // QuantizeGemmlowp
  void (*quantize_fused)(const float* x, int8_t* y, int64_t n, float inverse,
                         const OutputCodesS8& out);
  void (*dequantize)(const int8_t* x, float* y, int64_t n, int32_t zero_point, float scale);
  // rne(float32(x - x_zero) * m)
  void (*requantize)(const int8_t* x, int8_t* y, int64_t n, int32_t x_zero, float m,
                     const OutputCodesS8& out);
  // rne(float32(acc - subtract) * m); acc - subtract wraps.
  void (*requantize_s32)(const int32_t* acc, int8_t* y, int64_t n, int32_t subtract, float m,
                         const OutputCodesS8& out);
  // RequantizeGemmlowp with a mantissa and an exponent per element.
  void (*requantize_s32_gemmlowp)(const int32_t* acc, int8_t* y, int64_t n, const int32_t* mantissa,
                                  const int32_t* exponent, const OutputCodesS8& out);
  void (*maximum)(int8_t* y, const int8_t* x, int64_t n);  // y = max(y, x)
  void (*minimum)(int8_t* y, const int8_t* x, int64_t n);
  // Of n > 0 codes.
  int8_t (*largest)(const int8_t* x, int64_t n);
  int8_t (*smallest)(const int8_t* x, int64_t n);
  int64_t (*sum)(const int8_t* x, int64_t n);
  // Over rows > 0 runs of n codes that lie `step` apart, x[r * step + i]; y overlaps none of them.
  void (*largest_of_rows)(const int8_t* x, int64_t step, int64_t rows, int64_t n, int8_t* y);
  void (*smallest_of_rows)(const int8_t* x, int64_t step, int64_t rows, int64_t n, int8_t* y);
  // y[i] = sum, or y[i] += sum; modulo 2^32.
  void (*sum_of_rows)(const int8_t* x, int64_t step, int64_t rows, int64_t n, int32_t* y, bool add);
  // requantize_s32 of the sums of taps > 0 runs, acc[t * step + i].
  void (*requantize_window_sums)(const int32_t* acc, int64_t step, int64_t taps, int8_t* y,
                                 int64_t n, int32_t subtract, float m, const OutputCodesS8& out);
  // y[w * channels + c] of column w
  void (*blend_columns)(const int8_t* x, const ColumnBlendS8* columns, int64_t n, int64_t channels,
                        int32_t* y);
  // (top * up + bottom * down + 2^19) >> 20
  void (*blend_rows)(const int32_t* top, const int32_t* bottom, int64_t n, int32_t up, int32_t down,
                     int8_t* y);
  // requantize_s32 of window sums.
  void (*average_windows)(const WindowsS8Args&);
  // float32(t) * float32(1 / (sum of all t * y_scale)), t = whole[max - x[i]], n > 0.
  void (*softmax_row)(const int8_t* x, int64_t n, const SoftmaxS8Table& table, float* quotients);
  void (*clamp)(const int8_t* x, int8_t* y, int64_t n, int32_t low, int32_t high);
  void (*lookup)(const int8_t* x, int8_t* y, int64_t n, const int8_t* table);  // table[x + 128]
  void (*lines)(const int8_t* x, int8_t* y, int64_t n, const LinesS8&);
  // *low = min(*low, x[i]) and *high = max(*high, x[i]) for all i; NaN is not looked at.
  void (*widen_range)(const float* x, int64_t n, float* low, float* high);
};

// Family vector_s8: the exported function of a kernel gives the struct above.
struct vector_s8 {
  using Fn = const VectorS8Kernel&();
};

}  // namespace bitlite
