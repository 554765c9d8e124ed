// The unary_f32 kernel over Vec. Errors against the exact functions: exp, log, sigmoid, tanh, erf
// below 3 ulp over the float range (tests/native/test_float_kernels.py).
#pragma once

#include "kernels/common/math_f32.h"
#include "unary_f32.h"

namespace {

struct ClampFn {
  Vec lo, hi;
  Vec operator()(Vec x) const { return Min(hi, Max(lo, x)); }
};
struct LeakyReluFn {
  Vec slope;
  Vec operator()(Vec x) const { return IfLess(x, Set(0.0f), x * slope, x); }
};
struct EluFn {
  Vec alpha, gamma;
  Vec operator()(Vec x) const { return gamma * IfLess(x, Set(0.0f), alpha * Expm1(x), x); }
};
struct HardSwishFn {
  Vec operator()(Vec x) const {
    return x * Min(Set(6.0f), Max(Set(0.0f), x + Set(3.0f))) * Set(1.0f / 6.0f);
  }
};
struct HardSigmoidFn {
  Vec alpha, beta;
  Vec operator()(Vec x) const { return Min(Set(1.0f), Max(Set(0.0f), alpha * x + beta)); }
};
struct GeluErfFn {
  Vec operator()(Vec x) const {
    constexpr float kSqrtHalf = 0.70710678118654752f;
    return Set(0.5f) * x * (Set(1.0f) + Erf(x * Set(kSqrtHalf)));
  }
};
struct GeluTanhFn {
  Vec operator()(Vec x) const {
    constexpr float kSqrt2OverPi = 0.79788456080286536f;
    const Vec inner = Set(kSqrt2OverPi) * x * Fma(Set(0.044715f), x * x, Set(1.0f));
    return Set(0.5f) * x * (Set(1.0f) + Tanh(inner));
  }
};

template <typename F>
inline void MapUnary(const bitlite::UnaryF32Args& args, F f) {
  int64_t i = 0;
  for (; i + Vec::kWidth <= args.n; i += Vec::kWidth) Store(args.y + i, f(Load(args.x + i)));
  const int rest = static_cast<int>(args.n - i);
  if (rest > 0) StoreN(args.y + i, f(LoadN(args.x + i, rest)), rest);
}

inline void UnaryKernel(const bitlite::UnaryF32Args& t) {
  switch (t.op) {
#define BITLITE_UNARY(value, vec, ...) \
  case bitlite::UnaryOp::value:        \
    return MapUnary(t, vec);
#include "unary_f32_functions.inc"
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(unary_f32)(const UnaryF32Args& t) { UnaryKernel(t); }

}  // namespace bitlite
