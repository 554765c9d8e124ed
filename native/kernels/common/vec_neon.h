// Vec for NEON (AArch64): four floats.
#pragma once

#include <arm_neon.h>

#include <cstdint>

// The name of a kernel over this vector type, and which of four numbers is its own.
#define BITLITE_VEC_KERNEL(family) family##_neon
#define BITLITE_VEC_OF(scalar, avx2, avx512, neon) neon

namespace {

struct Vec {
  static constexpr int kWidth = 4;
  float32x4_t v;
};

inline Vec Load(const float* p) { return {vld1q_f32(p)}; }
inline Vec LoadN(const float* p, int n) {
  float lanes[4] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return {vld1q_f32(lanes)};
}
inline void Store(float* p, Vec a) { vst1q_f32(p, a.v); }
inline void StoreN(float* p, Vec a, int n) {
  float lanes[4];
  vst1q_f32(lanes, a.v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
// Codes as floats; nibbles: the i-th of each word, 0..15.
inline Vec LoadCodes(const int8_t* p) {
  const int32_t four[4] = {p[0], p[1], p[2], p[3]};
  return {vcvtq_f32_s32(vld1q_s32(four))};
}
inline Vec LoadNibbles(const uint8_t* p, int i) {
  const uint32x4_t b = vshlq_u32(vreinterpretq_u32_u8(vld1q_u8(p)), vdupq_n_s32(-4 * i));
  return {vcvtq_f32_u32(vandq_u32(b, vdupq_n_u32(15)))};
}
// Accumulators, modulo 2^32.
struct Ints {
  int32x4_t v;
};
inline Ints LoadInts(const int32_t* p) { return {vld1q_s32(p)}; }
inline Ints AddProduct(Ints a, Ints b, int32_t factor) { return {vmlaq_n_s32(a.v, b.v, factor)}; }
inline Vec ToFloat(Ints a) { return {vcvtq_f32_s32(a.v)}; }
inline Vec Set(float a) { return {vdupq_n_f32(a)}; }
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
// As the x86 instructions: the second operand when either is NaN.
inline Vec Min(Vec a, Vec b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
inline Vec Fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec Abs(Vec a) { return {vabsq_f32(a.v)}; }
inline Vec Sqrt(Vec a) { return {vsqrtq_f32(a.v)}; }
inline Vec Round(Vec a) { return {vrndnq_f32(a.v)}; }
inline Vec Floor(Vec a) { return {vrndmq_f32(a.v)}; }
inline Vec Ceil(Vec a) { return {vrndpq_f32(a.v)}; }
inline Vec IfLess(Vec a, Vec b, Vec x, Vec y) { return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)}; }
inline Vec IfNan(Vec a, Vec x, Vec y) { return {vbslq_f32(vceqq_f32(a.v, a.v), y.v, x.v)}; }
inline Vec CopySign(Vec magnitude, Vec sign) {
  return {vbslq_f32(vdupq_n_u32(0x80000000u), sign.v, magnitude.v)};
}
inline float32x4_t PowerOfTwo(int32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
// In four factors, so that neither a factor nor a product overflows before the result does, and
// subnormal results come out (|n| <= 300).
inline Vec Scale2(Vec a, Vec n) {
  const int32x4_t whole = vcvtnq_s32_f32(n.v);
  const int32x4_t quarter = vshrq_n_s32(whole, 2);
  const int32x4_t rest = vmlsq_n_s32(whole, quarter, 3);
  const float32x4_t q = PowerOfTwo(quarter);
  return {vmulq_f32(vmulq_f32(vmulq_f32(vmulq_f32(a.v, PowerOfTwo(rest)), q), q), q)};
}
inline Vec ExponentOf(Vec a) {
  return {vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(a.v), 23))};
}
inline Vec Mantissa(Vec a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a.v);
  return {vreinterpretq_f32_u32(
      vorrq_u32(vandq_u32(bits, vdupq_n_u32(0x007fffffu)), vdupq_n_u32(0x3f000000u)))};
}
inline Vec Exponent(Vec a) {
  const int32x4_t e = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a.v), 23));
  return {vcvtq_f32_s32(vsubq_s32(e, vdupq_n_s32(126)))};
}
inline float Sum(Vec a) { return vaddvq_f32(a.v); }

}  // namespace
