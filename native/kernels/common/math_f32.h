// Transcendental functions over Vec.
#pragma once

namespace {

// exp(x) - 1 for |x| <= ln(2)/2 divided by x: Taylor to degree 6, remainder below 2^-25.
inline Vec ExpTail(Vec r) {
  Vec p = Set(1.0f / 5040.0f);
  p = Fma(p, r, Set(1.0f / 720.0f));
  p = Fma(p, r, Set(1.0f / 120.0f));
  p = Fma(p, r, Set(1.0f / 24.0f));
  p = Fma(p, r, Set(1.0f / 6.0f));
  p = Fma(p, r, Set(0.5f));
  return Fma(p, r, Set(1.0f));
}

struct ExpParts {
  Vec n, r;  // x = n ln 2 + r
};

// Cody and Waite's two-part ln 2.
inline ExpParts SplitExp(Vec x) {
  // Beyond these exp is infinite or zero in float; keeps n small. NaN passes.
  x = Min(Set(110.0f), Max(Set(-110.0f), x));
  const Vec n = Round(x * Set(1.44269504088896341f));
  Vec r = Fma(n, Set(-0.693359375f), x);
  r = Fma(n, Set(2.12194440054690583e-4f), r);
  return {n, r};
}

inline Vec Exp(Vec x) {
  const ExpParts s = SplitExp(x);
  return IfNan(x, x, Scale2(Fma(ExpTail(s.r), s.r, Set(1.0f)), s.n));
}

// 2^n (e^r - 1) + (2^n - 1), which does not cancel near zero.
inline Vec Expm1(Vec x) {
  const ExpParts s = SplitExp(x);
  const Vec p = ExpTail(s.r) * s.r;
  const Vec power = Scale2(Set(1.0f), s.n);
  return IfNan(x, x, Fma(p, power, power - Set(1.0f)));
}

// Added to n and to the bias of an exponent, leaves both in the lowest bits: see ExponentOf.
constexpr float kToLowBits = 12582912.0f;

// 1 / (1 + e^-x) as s / (s + s e^-x): with s = 2^-32 nothing overflows before the quotient is
// subnormal. e^-x = 2^n e^-r. NaN passes Min and Max and stays.
template <typename V>  // Vec or Vecs
[[gnu::always_inline]] inline V Sigmoid(V x) {
  constexpr float kOne = 0x1p-32f, kBias = kToLowBits + (127 - 32);
  x = Min(Set(64.0f), Max(Set(-104.0f), x));  // beyond them 1 and 0
  const V shifted = Fma(x, Set(-1.44269504088896341f), Set(kBias));
  const V n = shifted - Set(kBias);
  V r = Fma(n, Set(0.693359375f), x);
  r = Fma(n, Set(-2.12194440054690583e-4f), r);
  // Minimax to degree 6, relative error below 2e-9.
  V p = Set(1.3836568e-3f);
  p = Fma(p, r, Set(-8.3750365e-3f));
  p = Fma(p, r, Set(4.1668244e-2f));
  p = Fma(p, r, Set(-1.6666417e-1f));
  p = Fma(p, r, Set(4.999999e-1f));
  p = Fma(p, r, Set(-1.0f));
  p = Fma(p, r, Set(1.0f));
  return Set(kOne) / Fma(p, ExponentOf(shifted), Set(kOne));
}

// -e / (e + 2) of e = exp(-2 |x|) - 1 = 2^n (e^r - 1) + (2^n - 1), which does not cancel near zero.
template <typename V>
[[gnu::always_inline]] inline V Tanh(V x) {
  constexpr float kBias = kToLowBits + 127;
  const V a = Min(Set(20.0f), Abs(x));  // beyond it 1
  const V shifted = Fma(a, Set(-2.88539008177792681f), Set(kBias));
  const V n = shifted - Set(kBias);
  V r = Fma(n, Set(-0.693359375f), Set(-2.0f) * a);
  r = Fma(n, Set(2.12194440054690583e-4f), r);
  // (e^r - 1) / r: minimax to degree 5, relative error below 2e-8.
  V p = Set(1.3888873e-3f);
  p = Fma(p, r, Set(8.36926e-3f));
  p = Fma(p, r, Set(4.166714e-2f));
  p = Fma(p, r, Set(1.6666505e-1f));
  p = Fma(p, r, Set(4.9999997e-1f));
  p = Fma(p, r, Set(1.0f));
  const V power = ExponentOf(shifted);
  const V e = Fma(p * r, power, power - Set(1.0f));
  return CopySign(e / (e + Set(2.0f)), x);
}

// Cephes logf; zero and negative arguments give -inf and NaN.
inline Vec Log(Vec x0) {
  const Vec one = Set(1.0f);
  constexpr float kMinNormal = 1.17549435e-38f;
  const Vec tiny = Set(kMinNormal);
  const Vec x = IfLess(x0, tiny, x0 * Set(16777216.0f), x0);
  Vec e = Exponent(x) - IfLess(x0, tiny, Set(24.0f), Set(0.0f));
  Vec m = Mantissa(x);
  const Vec sqrt_half = Set(0.707106781186547524f);
  e = IfLess(m, sqrt_half, e - one, e);
  m = IfLess(m, sqrt_half, m + m, m) - one;
  const Vec z = m * m;
  Vec p = Set(7.0376836292e-2f);
  p = Fma(p, m, Set(-1.1514610310e-1f));
  p = Fma(p, m, Set(1.1676998740e-1f));
  p = Fma(p, m, Set(-1.2420140846e-1f));
  p = Fma(p, m, Set(1.4249322787e-1f));
  p = Fma(p, m, Set(-1.6668057665e-1f));
  p = Fma(p, m, Set(2.0000714765e-1f));
  p = Fma(p, m, Set(-2.4999993993e-1f));
  p = Fma(p, m, Set(3.3333331174e-1f));
  Vec y = p * m * z;
  y = Fma(e, Set(-2.12194440e-4f), y);
  y = Fma(z, Set(-0.5f), y);
  y = Fma(e, Set(0.693359375f), m + y);
  constexpr float kInf = __builtin_inff();
  constexpr float kNan = __builtin_nanf("");
  y = IfLess(x0, Set(0.0f), Set(kNan), y);
  y = IfLess(Set(-0.0f) - Abs(x0), Set(0.0f), y, IfNan(x0, x0, Set(-kInf)));
  return IfLess(x0, Set(kInf), y, x0);
}

// |x| < 1: odd polynomial; else 1 - exp(-x^2) P(1/x)-free form by one more polynomial in |x|
// (N. Juffa's single precision erf, below 1 ulp with FMA).
inline Vec Erf(Vec a) {
  const Vec t = Abs(a);
  const Vec s = a * a;
  Vec r = Fma(Set(-1.72853470e-5f), t, Set(3.83197126e-4f));
  Vec u = Fma(Set(-3.88396438e-3f), t, Set(2.42546219e-2f));
  r = Fma(r, s, u);
  r = Fma(r, t, Set(-1.06777877e-1f));
  r = Fma(r, t, Set(-6.34846687e-1f));
  r = Fma(r, t, Set(-1.28717512e-1f));
  r = Fma(r, t, Set(-0.0f) - t);
  const Vec large = CopySign(Set(-0.0f) - Expm1(r), a);
  Vec q = Set(-5.96761703e-4f);
  q = Fma(q, s, Set(4.99119423e-3f));
  q = Fma(q, s, Set(-2.67681349e-2f));
  q = Fma(q, s, Set(1.12819925e-1f));
  q = Fma(q, s, Set(-3.76125336e-1f));
  q = Fma(q, s, Set(1.28379166e-1f));
  const Vec small = Fma(q, a, a);
  return IfNan(a, a, IfLess(t, Set(0.927734375f), small, large));
}

// log(1 + e^x) without overflow; log1p by the quotient that cancels the rounding of 1 + e.
inline Vec Softplus(Vec x) {
  const Vec one = Set(1.0f);
  const Vec e = Exp(Set(-0.0f) - Abs(x));
  const Vec u = one + e;
  const Vec d = u - one;
  const Vec log1p = IfLess(Set(0.0f), d, Log(u) * (e / d), e);
  return IfNan(x, x, Max(x, Set(0.0f)) + log1p);
}

}  // namespace
