// Family unary_f32: y[i] = f(x[i]); also the activations that GEMM tiles apply to their rows.
#pragma once

#include <cstdint>

namespace bitlite {

enum class UnaryOp : int {
  kClamp,  // min(hi, max(lo, x)), NaN stays
  kLeakyRelu,
  kElu,
  kSelu,
  kSigmoid,
  kTanh,
  kHardSwish,
  kHardSigmoid,
  kSwish,
  kGeluErf,
  kGeluTanh,
  kErf,
  kExp,
  kLog,
  kSqrt,
  kRsqrt,
  kAbs,
  kNeg,
  kSquare,
  kReciprocal,
  kFloor,
  kCeil,
  kRound,  // half to even
  kSoftplus,
  kMish,
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
