// Family binary_f32: y[i] = clamp(f(a[i], b[i])); either operand may be one repeated value. The
// same for each of some rows.
#pragma once

#include <cstdint>

namespace bitlite {

enum class BinaryOp : int {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kSquaredDifference,
  kPRelu,  // a < 0 ? a * b : a
};

struct BinaryF32Args {
  BinaryOp op;
  const float* a;
  const float* b;
  float* y;  // may be a or b
  int64_t n;
  bool repeat_a, repeat_b;  // a[0] or b[0] for all i
  float lo, hi;
  int64_t rows = 1;              // of y, one behind the other
  int64_t a_row = 0, b_row = 0;  // elements from a row of the operand to the next
};

struct binary_f32 {
  using Fn = void(const BinaryF32Args&);
};

}  // namespace bitlite
