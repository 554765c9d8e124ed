// Vec for AVX2 + FMA: eight floats.
#pragma once

#include <immintrin.h>

#include <cstdint>

// The name of a kernel over this vector type, and which of four numbers is its own.
#define BITLITE_VEC_KERNEL(family) family##_avx2
#define BITLITE_VEC_OF(scalar, avx2, avx512, neon) avx2

namespace {

struct Vec {
  static constexpr int kWidth = 8;
  __m256 v;
};

alignas(32) const int32_t kTailMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
inline __m256i TailMask(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailMask + 8 - n));
}

inline Vec Load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec LoadN(const float* p, int n) { return {_mm256_maskload_ps(p, TailMask(n))}; }
inline void Store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline void StoreN(float* p, Vec a, int n) { _mm256_maskstore_ps(p, TailMask(n), a.v); }
// Codes as floats; nibbles: the i-th of each word, 0..15.
inline Vec LoadCodes(const int8_t* p) {
  return {_mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec LoadNibbles(const uint8_t* p, int i) {
  const __m256i b =
      _mm256_srli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 4 * i);
  return {_mm256_cvtepi32_ps(_mm256_and_si256(b, _mm256_set1_epi32(15)))};
}
// Accumulators, modulo 2^32.
struct Ints {
  __m256i v;
};
inline Ints LoadInts(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
inline Ints AddProduct(Ints a, Ints b, int32_t factor) {
  return {_mm256_add_epi32(a.v, _mm256_mullo_epi32(b.v, _mm256_set1_epi32(factor)))};
}
inline Vec ToFloat(Ints a) { return {_mm256_cvtepi32_ps(a.v)}; }
inline Vec Set(float a) { return {_mm256_set1_ps(a)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec Fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec Abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline Vec Sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec Round(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec Floor(Vec a) { return {_mm256_floor_ps(a.v)}; }
inline Vec Ceil(Vec a) { return {_mm256_ceil_ps(a.v)}; }
inline Vec IfLess(Vec a, Vec b, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
inline Vec IfNan(Vec a, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.v, x.v, _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q))};
}
inline Vec CopySign(Vec magnitude, Vec sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
inline __m256 PowerOfTwo(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
// In four factors, so that neither a factor nor a product overflows before the result does, and
// subnormal results come out (|n| <= 300).
inline Vec Scale2(Vec a, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i quarter = _mm256_srai_epi32(whole, 2);
  const __m256i rest = _mm256_sub_epi32(whole, _mm256_mullo_epi32(quarter, _mm256_set1_epi32(3)));
  const __m256 q = PowerOfTwo(quarter);
  return {
      _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(a.v, PowerOfTwo(rest)), q), q), q)};
}
inline Vec ExponentOf(Vec a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 23))};
}
inline Vec Mantissa(Vec a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  return {_mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff)),
                                              _mm256_set1_epi32(0x3f000000)))};
}
inline Vec Exponent(Vec a) {
  const __m256i e = _mm256_srli_epi32(_mm256_castps_si256(a.v), 23);
  return {_mm256_cvtepi32_ps(_mm256_sub_epi32(e, _mm256_set1_epi32(126)))};
}
inline float Sum(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

}  // namespace
