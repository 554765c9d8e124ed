// Elementwise functions of codes of 16 bits, zero points 0, over runs of consecutive elements. The
// arithmetic is written once, in vector_s16.inc, and compiled for every instruction set.
#pragma once

#include <cstdint>

namespace bitlite {

// Whole numbers.
struct ClampS16 {
  float low, high;
};

// The other operand is a run, too, or one value.
struct BinaryS16Args {
  const int16_t* a;
  const int16_t* b;
  int64_t a_step, b_step;  // 1 or 0
  int16_t* y;
  int64_t n;
  float a_scale, b_scale;
  ClampS16 clamp;
};

struct VectorS16Kernel {
  void (*add)(const BinaryS16Args&);  // rne(float32(a) * a_scale + float32(b) * b_scale)
  void (*mul)(const BinaryS16Args&);  // rne(float32(a * b) * a_scale)
  // rne(x * inverse), NaN gives 0.
  void (*quantize)(const float* x, int16_t* y, int64_t n, float inverse, ClampS16 clamp);
  void (*dequantize)(const int16_t* x, float* y, int64_t n, float scale);
  // rne(float32(x) * m)
  void (*requantize)(const int16_t* x, int16_t* y, int64_t n, float m, ClampS16 clamp);
  void (*requantize_s64)(const int64_t* x, int16_t* y, int64_t n, float m, ClampS16 clamp);
  void (*sum_rows)(const int16_t* x, int64_t step, int64_t rows, int64_t n, int64_t* y);  // y +=
  void (*maximum)(int16_t* y, const int16_t* x, int64_t n);  // y = max(y, x)
  void (*minimum)(int16_t* y, const int16_t* x, int64_t n);
};

// Family vector_s16: the exported function of a kernel gives the struct above.
struct vector_s16 {
  using Fn = const VectorS16Kernel&();
};

}  // namespace bitlite
