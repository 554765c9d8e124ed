// Vec for AVX-512 (F, DQ, VL): sixteen floats.
#pragma once

#include <immintrin.h>

#include <cstdint>

// The name of a kernel over this vector type, and which of four numbers is its own.
#define BITLITE_VEC_KERNEL(family) family##_avx512
#define BITLITE_VEC_OF(scalar, avx2, avx512, neon) avx512

namespace {

struct Vec {
  static constexpr int kWidth = 16;
  __m512 v;
};

// Half as many floats, for what would leave half of a Vec unused: many CPUs work on twice as many
// of these at a time.
#define BITLITE_HALF_VEC
struct HalfVec {
  static constexpr int kWidth = 8;
  __m256 v;
};

inline __mmask16 TailMask(int n) { return static_cast<__mmask16>((1u << n) - 1); }

inline Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec LoadN(const float* p, int n) { return {_mm512_maskz_loadu_ps(TailMask(n), p)}; }
inline void Store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void StoreN(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, TailMask(n), a.v); }
// Codes as floats; nibbles: the i-th of each word, 0..15.
inline Vec LoadCodes(const int8_t* p) {
  return {_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec LoadNibbles(const uint8_t* p, int i) {
  const __m512i b = _mm512_srli_epi32(_mm512_loadu_si512(p), static_cast<unsigned>(4 * i));
  return {_mm512_cvtepi32_ps(_mm512_and_si512(b, _mm512_set1_epi32(15)))};
}
// Accumulators, modulo 2^32.
struct Ints {
  __m512i v;
};
inline Ints LoadInts(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
inline Ints AddProduct(Ints a, Ints b, int32_t factor) {
  return {_mm512_add_epi32(a.v, _mm512_mullo_epi32(b.v, _mm512_set1_epi32(factor)))};
}
inline Vec ToFloat(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline Vec Set(float a) { return {_mm512_set1_ps(a)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline HalfVec LoadHalf(const float* p) { return {_mm256_loadu_ps(p)}; }
inline HalfVec LoadHalfN(const float* p, int n) {
  return {_mm256_maskz_loadu_ps(static_cast<__mmask8>(TailMask(n)), p)};
}
inline void Store(float* p, HalfVec a) { _mm256_storeu_ps(p, a.v); }
inline void StoreN(float* p, HalfVec a, int n) {
  _mm256_mask_storeu_ps(p, static_cast<__mmask8>(TailMask(n)), a.v);
}
inline HalfVec SetHalf(float a) { return {_mm256_set1_ps(a)}; }
inline HalfVec operator+(HalfVec a, HalfVec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline HalfVec Min(HalfVec a, HalfVec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline HalfVec Max(HalfVec a, HalfVec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline HalfVec Fma(HalfVec a, HalfVec b, HalfVec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec Fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec Abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec Sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
inline Vec Round(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec Floor(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
inline Vec Ceil(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
}
inline Vec IfLess(Vec a, Vec b, Vec x, Vec y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline Vec IfNan(Vec a, Vec x, Vec y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), y.v, x.v)};
}
inline Vec CopySign(Vec magnitude, Vec sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}
inline Vec Scale2(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline Vec ExponentOf(Vec a) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))};
}
inline Vec Mantissa(Vec a) {
  return {_mm512_getmant_ps(a.v, _MM_MANT_NORM_p5_1, _MM_MANT_SIGN_src)};
}
inline Vec Exponent(Vec a) { return {_mm512_add_ps(_mm512_getexp_ps(a.v), _mm512_set1_ps(1.0f))}; }
inline float Sum(Vec a) { return _mm512_reduce_add_ps(a.v); }

}  // namespace
