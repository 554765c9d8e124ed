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
  using bitlite::UnaryOp;
  const Vec one = Set(1.0f);
  switch (t.op) {
    case UnaryOp::kClamp:
      return MapUnary(t, ClampFn{Set(t.a), Set(t.b)});
    case UnaryOp::kLeakyRelu:
      return MapUnary(t, LeakyReluFn{Set(t.a)});
    case UnaryOp::kElu:
      return MapUnary(t, EluFn{Set(t.a), one});
    case UnaryOp::kSelu:
      return MapUnary(t, EluFn{Set(t.a), Set(t.b)});
    case UnaryOp::kSigmoid:
      return MapUnary(t, [](Vec x) { return Sigmoid(x); });
    case UnaryOp::kTanh:
      return MapUnary(t, [](Vec x) { return Tanh(x); });
    case UnaryOp::kHardSwish:
      return MapUnary(t, HardSwishFn{});
    case UnaryOp::kHardSigmoid:
      return MapUnary(t, HardSigmoidFn{Set(t.a), Set(t.b)});
    case UnaryOp::kSwish:
      return MapUnary(t, [](Vec x) { return x * Sigmoid(x); });
    case UnaryOp::kGeluErf:
      return MapUnary(t, GeluErfFn{});
    case UnaryOp::kGeluTanh:
      return MapUnary(t, GeluTanhFn{});
    case UnaryOp::kErf:
      return MapUnary(t, [](Vec x) { return Erf(x); });
    case UnaryOp::kExp:
      return MapUnary(t, [](Vec x) { return Exp(x); });
    case UnaryOp::kLog:
      return MapUnary(t, [](Vec x) { return Log(x); });
    case UnaryOp::kSqrt:
      return MapUnary(t, [](Vec x) { return Sqrt(x); });
    case UnaryOp::kRsqrt:
      return MapUnary(t, [one](Vec x) { return one / Sqrt(x); });
    case UnaryOp::kAbs:
      return MapUnary(t, [](Vec x) { return Abs(x); });
    case UnaryOp::kNeg:
      return MapUnary(t, [](Vec x) { return Set(-0.0f) - x; });
    case UnaryOp::kSquare:
      return MapUnary(t, [](Vec x) { return x * x; });
    case UnaryOp::kReciprocal:
      return MapUnary(t, [one](Vec x) { return one / x; });
    case UnaryOp::kFloor:
      return MapUnary(t, [](Vec x) { return Floor(x); });
    case UnaryOp::kCeil:
      return MapUnary(t, [](Vec x) { return Ceil(x); });
    case UnaryOp::kSoftplus:
      return MapUnary(t, [](Vec x) { return Softplus(x); });
    case UnaryOp::kMish:
      return MapUnary(t, [](Vec x) { return x * Tanh(Softplus(x)); });
    case UnaryOp::kRound:
      return MapUnary(t, [](Vec x) { return Round(x); });
  }
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(unary_f32)(const UnaryF32Args& t) { UnaryKernel(t); }

}  // namespace bitlite
