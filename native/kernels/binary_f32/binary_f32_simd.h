// The binary_f32 kernel over Vec.
#pragma once

#include "binary_f32.h"

namespace {

template <bool kRepeatA, bool kRepeatB, typename F>
inline void MapRows(const bitlite::BinaryF32Args& t, F f) {
  const Vec lo = Set(t.lo), hi = Set(t.hi);
  constexpr int W = Vec::kWidth;
  const float *a = t.a, *b = t.b;
  float* y = t.y;
  for (int64_t row = 0; row < t.rows; ++row, a += t.a_row, b += t.b_row, y += t.n) {
    // Values first: y may be the operand that repeats.
    const Vec va = kRepeatA ? Set(a[0]) : Vec{}, vb = kRepeatB ? Set(b[0]) : Vec{};
    int64_t i = 0;
    for (; i + W <= t.n; i += W) {
      const Vec wide = f(kRepeatA ? va : Load(a + i), kRepeatB ? vb : Load(b + i));
      Store(y + i, Min(hi, Max(lo, wide)));
    }
    const int rest = static_cast<int>(t.n - i);
    if (rest > 0) {
      const Vec last = f(kRepeatA ? va : LoadN(a + i, rest), kRepeatB ? vb : LoadN(b + i, rest));
      StoreN(y + i, Min(hi, Max(lo, last)), rest);
    }
  }
}

template <typename F>
inline void MapBinary(const bitlite::BinaryF32Args& t, F f) {
  if (t.repeat_a && t.repeat_b) return MapRows<true, true>(t, f);
  if (t.repeat_a) return MapRows<true, false>(t, f);
  if (t.repeat_b) return MapRows<false, true>(t, f);
  MapRows<false, false>(t, f);
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
