// Rounding of the integer kernels, and the only place for it. Mirrored in Python by
// requantize_rne_f32 and requantize_gemmlowp of converter/numeric/qparams.py; a test proves them
// equal.
//
// Accumulators are int32 modulo 2^32: no step saturates before the final clamp.
//
// rne_f32, the default profile:  y = clamp(rne(float32(acc) * m) + zero_point, qmin, qmax)
//   Every operation rounds once, to nearest even, in float32; m is float32. Clamping the float to
//   the integers qmin - zero_point and qmax - zero_point before rne gives the same result, which is
//   how the scalar code avoids conversions out of range. Vector code converts with cvtps2dq,
//   fcvtns, … and saturates afterwards, which needs |float32(acc) * m| < 2^31: FitsInt32() tells at
//   plan time, and where it does not hold the scalar code runs.
//
// gemmlowp, the profile of the MindSpore Lite and TFLite reference kernels:
//   y = clamp(RoundingDivideByPot(SaturatingRoundingDoublingHighMul(acc << left, mantissa), right)
//   + zp)
//   Elementwise operators, and what MindSpore Lite's own x86 code makes of them: QuantizeSum,
//   RescaleAsX86, MulGemmlowp and QuantizeGemmlowp.
#pragma once

#include <cmath>
#include <cstdint>

namespace bitlite {

// Half to even, for |v| < 2^22.
static inline int32_t RneSmall(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's last bit is worth 1
  return static_cast<int32_t>((v + kMagic) - kMagic);
}

// v is the already scaled value; qmin <= qmax within int16, zero_point within int16.
static inline int32_t RoundClamp(float v, int32_t zero_point, int32_t qmin, int32_t qmax) {
  const float low = static_cast<float>(qmin - zero_point);
  const float high = static_cast<float>(qmax - zero_point);
  v = v >= low ? v : low;  // also NaN
  v = v > high ? high : v;
  return RneSmall(v) + zero_point;
}

static inline int32_t RequantizeRneF32(int32_t acc, float multiplier, int32_t zero_point,
                                       int32_t qmin, int32_t qmax) {
  return RoundClamp(static_cast<float>(acc) * multiplier, zero_point, qmin, qmax);
}

// Whether vector code may convert float32(acc) * multiplier to int32, for |acc| <= bound.
static inline bool FitsInt32(double bound, double multiplier) {
  const double limit = bound < 2147483648.0 ? bound : 2147483648.0;
  return limit * multiplier < 2147480000.0;
}

// A positive real as mantissa * 2^(exponent - 31), mantissa in [2^30, 2^31) or 0.
struct GemmlowpMultiplier {
  int32_t mantissa;
  int32_t exponent;
};

static inline GemmlowpMultiplier QuantizeMultiplier(double multiplier) {
  if (!(multiplier > 0)) return {0, 0};
  int exponent = 0;
  const double fraction = std::frexp(multiplier, &exponent);
  int64_t mantissa = static_cast<int64_t>(std::round(fraction * 2147483648.0));
  if (mantissa == (int64_t{1} << 31)) {
    mantissa /= 2;
    ++exponent;
  }
  if (exponent < -31) return {0, 0};
  return {static_cast<int32_t>(mantissa), exponent};
}

static inline int32_t SaturatingRoundingDoublingHighMul(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  const int64_t product = static_cast<int64_t>(a) * b;
  const int64_t nudge = product >= 0 ? (int64_t{1} << 30) : (1 - (int64_t{1} << 30));
  return static_cast<int32_t>((product + nudge) / (int64_t{1} << 31));
}

static inline int32_t RoundingDivideByPot(int32_t x, int exponent) {  // exponent 0..31
  const int64_t mask = (int64_t{1} << exponent) - 1;
  const int64_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return static_cast<int32_t>((static_cast<int64_t>(x) >> exponent) +
                              ((x & mask) > threshold ? 1 : 0));
}

// The same without branches, as vector code does it:
//   high = floor(((acc << left) * mantissa + 2^30) / 2^31)    (high + half - (high < edge)) >>
//   right
// No step may pass int32, which FitsGemmlowp() tells at plan time.
struct GemmlowpColumn {
  int32_t left, mantissa, half, right, edge;
};

static inline GemmlowpColumn ColumnOf(GemmlowpMultiplier m) {
  const int32_t left = m.exponent > 0 ? m.exponent : 0, right = m.exponent > 0 ? 0 : -m.exponent;
  // Where nothing is shifted there are no halves to move away from zero.
  return {left, m.mantissa, right > 0 ? 1 << (right - 1) : 0, right, right > 0 ? 0 : INT32_MIN};
}

// For |acc| <= bound.
static inline bool FitsGemmlowp(double bound, GemmlowpMultiplier m) {
  const GemmlowpColumn c = ColumnOf(m);
  const double shifted = std::ldexp(bound, c.left);
  return shifted < 2147483647.0 && shifted * c.mantissa / 2147483648.0 + c.half < 2147483640.0;
}

static inline int32_t RequantizeGemmlowp(int32_t acc, GemmlowpMultiplier m, int32_t zero_point,
                                         int32_t qmin, int32_t qmax) {
  const int left = m.exponent > 0 ? m.exponent : 0;
  const int right = m.exponent > 0 ? 0 : -m.exponent;
  const int32_t shifted = left < 32 ? static_cast<int32_t>(static_cast<uint32_t>(acc) << left) : 0;
  const int64_t y = static_cast<int64_t>(RoundingDivideByPot(
                        SaturatingRoundingDoublingHighMul(shifted, m.mantissa), right)) +
                    zero_point;
  return static_cast<int32_t>(y < qmin ? qmin : y > qmax ? qmax : y);
}

// m with the scales as MindSpore Lite holds them: float32, and the product of two is one too.
static inline double GemmlowpScale(double a, double b, double y) {
  const float product = static_cast<float>(a) * static_cast<float>(b);
  return static_cast<double>(product) / static_cast<double>(static_cast<float>(y));
}

// One rescaling of MindSpore Lite's vector code for x86. For negative values both of its roundings
// differ from the scalar code's: the product ends one higher, and the shift of an exact multiple
// one lower.
static inline int32_t RescaleAsX86(int32_t acc, GemmlowpMultiplier m) {
  const int left = m.exponent > 0 ? m.exponent : 0;
  const int right = m.exponent > 0 ? 0 : -m.exponent;
  const int32_t shifted = left < 32 ? static_cast<int32_t>(static_cast<uint32_t>(acc) << left) : 0;
  const int64_t product = static_cast<int64_t>(shifted) * m.mantissa + (int64_t{1} << 30);
  const int64_t high = product / (int64_t{1} << 31);
  const int64_t mask = (int64_t{1} << right) - 1;
  const int64_t rest = (high & mask) - (high < 0 ? 1 : 0);
  const int64_t quotient = high < 0 ? -((-high) >> right) - 1 : high >> right;
  return static_cast<int32_t>(quotient + (rest > (mask >> 1) ? 1 : 0));
}

static inline int32_t Rescale(int32_t acc, GemmlowpMultiplier m) {
  return RequantizeGemmlowp(acc, m, 0, INT32_MIN, INT32_MAX);
}

// The multipliers of a sum: both operands are brought to twice the larger scale, 20 bits up.
struct GemmlowpSum {
  GemmlowpMultiplier a, b, y;
};

static inline GemmlowpSum QuantizeSum(double sa, double sb, double sy) {
  const double common = 2 * (sa > sb ? sa : sb);
  return {QuantizeMultiplier(sa / common), QuantizeMultiplier(sb / common),
          QuantizeMultiplier(common / (1048576.0 * sy))};
}

// A float to a code, multiplied and shifted in one operation; halves go away from zero.
static inline int32_t QuantizeGemmlowp(float x, float inverse, int32_t zero_point, int32_t qmin,
                                       int32_t qmax) {
  double v = static_cast<double>(x) * static_cast<double>(inverse) + zero_point;
  v = v == v ? v : zero_point;
  v = v < qmin ? qmin : v > qmax ? qmax : v;
  const double from_low = v - qmin + 0.5;
  const int32_t step = static_cast<int32_t>(from_low);
  const double rest = from_low - step;
  // fmaf is slow where it is a call, and its own rounding matters only near a half.
  if (rest > 1e-4 && rest < 1 - 1e-4) return qmin + step;
  const float near = std::fmaf(x, inverse, static_cast<float>(zero_point));
  const int32_t whole =
      static_cast<int32_t>(near < static_cast<float>(qmin)   ? static_cast<float>(qmin)
                           : near > static_cast<float>(qmax) ? static_cast<float>(qmax)
                                                             : near);
  const float part = near - static_cast<float>(whole);
  const int32_t y = whole + (part >= 0.5f ? 1 : part <= -0.5f ? -1 : 0);
  return y < qmin ? qmin : y > qmax ? qmax : y;
}

static inline int32_t MulGemmlowp(int32_t a, int32_t b, GemmlowpMultiplier m) {
  return Rescale(a * b, m);
}

}  // namespace bitlite
