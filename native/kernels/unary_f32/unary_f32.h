// Family unary_f32: y[i] = f(x[i]); also the activations that GEMM tiles apply to their rows.
#pragma once

#include <cstdint>

namespace bitlite {

enum class UnaryOp : int {
#define BITLITE_UNARY(value, ...) value,
#include "unary_f32_functions.inc"
};

struct UnaryF32Args {
  UnaryOp op;
  const float* x;
  float* y;  // may be x
  int64_t n;
  // kClamp: lo, hi. kLeakyRelu: slope. kElu: alpha. kSelu: alpha, gamma. kHardSigmoid: alpha, beta.
  float a, b;
};

struct unary_f32 {
  using Fn = void(const UnaryF32Args&);
};

}  // namespace bitlite
