// The binary_f32 kernel over Vec.
#pragma once

#include "binary_f32.h"

namespace {

template <typename F>
inline void MapBinary(const bitlite::BinaryF32Args& t, F f) {
  const Vec lo = Set(t.lo), hi = Set(t.hi);
  const auto finish = [&](Vec a, Vec b) { return Min(hi, Max(lo, f(a, b))); };
  constexpr int W = Vec::kWidth;
  int64_t i = 0;
  if (t.repeat_a || t.repeat_b) {
    // Values first: y may be the operand that repeats.
    const float a0 = t.a[0], b0 = t.b[0];
    const Vec va = Set(a0), vb = Set(b0);
    for (; i + W <= t.n; i += W) {
      const Vec a = t.repeat_a ? va : Load(t.a + i);
      const Vec b = t.repeat_b ? vb : Load(t.b + i);
      Store(t.y + i, finish(a, b));
    }
    const int rest = static_cast<int>(t.n - i);
    if (rest > 0) {
      const Vec a = t.repeat_a ? va : LoadN(t.a + i, rest);
      const Vec b = t.repeat_b ? vb : LoadN(t.b + i, rest);
      StoreN(t.y + i, finish(a, b), rest);
    }
    return;
  }
  for (; i + W <= t.n; i += W) Store(t.y + i, finish(Load(t.a + i), Load(t.b + i)));
  const int rest = static_cast<int>(t.n - i);
  if (rest > 0) StoreN(t.y + i, finish(LoadN(t.a + i, rest), LoadN(t.b + i, rest)), rest);
}

// numpy: a NaN in either operand gives NaN.
inline Vec MinNan(Vec a, Vec b) { return IfNan(a, a, Min(a, b)); }
inline Vec MaxNan(Vec a, Vec b) { return IfNan(a, a, Max(a, b)); }

inline void BinaryKernel(const bitlite::BinaryF32Args& t) {
  using bitlite::BinaryOp;
  switch (t.op) {
    case BinaryOp::kAdd:
      return MapBinary(t, [](Vec a, Vec b) { return a + b; });
    case BinaryOp::kSub:
      return MapBinary(t, [](Vec a, Vec b) { return a - b; });
    case BinaryOp::kMul:
      return MapBinary(t, [](Vec a, Vec b) { return a * b; });
    case BinaryOp::kDiv:
      return MapBinary(t, [](Vec a, Vec b) { return a / b; });
    case BinaryOp::kMin:
      return MapBinary(t, [](Vec a, Vec b) { return MinNan(a, b); });
    case BinaryOp::kMax:
      return MapBinary(t, [](Vec a, Vec b) { return MaxNan(a, b); });
    case BinaryOp::kSquaredDifference:
      return MapBinary(t, [](Vec a, Vec b) { return (a - b) * (a - b); });
    case BinaryOp::kPRelu:
      return MapBinary(t, [](Vec a, Vec b) { return IfLess(a, Set(0.0f), a * b, a); });
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(binary_f32)(const BinaryF32Args& t) { BinaryKernel(t); }

}  // namespace bitlite
