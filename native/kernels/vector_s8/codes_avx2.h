// Codes of 8 bits and floats, 32 at a time, for kernels on AVX2.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "vector_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kBlock = 32;

__m256i Load(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
__m128i Load16(const int8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
void Store(int8_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

// 32 values, 4 by 4 in the vectors' lower halves, then in their upper ones.
struct Split32 {
  __m256 v[4];
};

// Codes less the zero point, exactly: a byte below the exponent of 2^23 is a float of 2^23 and
// more.
struct Widener {
  explicit Widener(int32_t zero_point)
      : zero(_mm256_set1_ps(static_cast<float>((1 << 23) + 128 + zero_point))) {}
  Split32 operator()(const int8_t* p) const { return (*this)(Load(p)); }
  Split32 operator()(__m256i codes) const {
    const __m256i x = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    const __m256i none = _mm256_setzero_si256();
    const __m256i first = _mm256_unpacklo_epi8(x, none), second = _mm256_unpackhi_epi8(x, none);
    const __m256i exponent = _mm256_set1_epi16(0x4B00);
    const auto less = [&](__m256i v) { return _mm256_sub_ps(_mm256_castsi256_ps(v), zero); };
    return {{less(_mm256_unpacklo_epi16(first, exponent)),
             less(_mm256_unpackhi_epi16(first, exponent)),
             less(_mm256_unpacklo_epi16(second, exponent)),
             less(_mm256_unpackhi_epi16(second, exponent))}};
  }
  __m256 zero;
};

// As Rounder: what the conversion cannot hold is below every code, which saturates to qmin.
struct Rounder256 {
  explicit Rounder256(const OutputCodesS8& out)
      : highest(_mm256_set1_ps(static_cast<float>(out.qmax - out.zero_point))),
        zero_point(_mm256_set1_epi16(static_cast<int16_t>(out.zero_point))),
        low(_mm256_set1_epi8(static_cast<char>(out.qmin))),
        high(_mm256_set1_epi8(static_cast<char>(out.qmax))),
        clamps(out.qmin > -128 || out.qmax < 127) {}
  // Vectors in order.
  __m256i operator()(__m256 v0, __m256 v1, __m256 v2, __m256 v3) const {
    const auto whole = [&](__m256 v) { return _mm256_cvtps_epi32(_mm256_min_ps(highest, v)); };
    const __m256i codes = Pack(whole(v0), whole(v1), whole(v2), whole(v3));
    // Packed within halves.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_max_epi8(_mm256_permutevar8x32_epi32(codes, order), low);
  }
  // Values that the conversion can hold: see Fits.
  __m256i operator()(const Split32& x) const {
    const auto whole = [](__m256 v) { return _mm256_cvtps_epi32(v); };
    const __m256i codes = Pack(whole(x.v[0]), whole(x.v[1]), whole(x.v[2]), whole(x.v[3]));
    return clamps ? _mm256_min_epi8(_mm256_max_epi8(codes, low), high) : codes;
  }
  __m256i Pack(__m256i v0, __m256i v1, __m256i v2, __m256i v3) const {
    const __m256i a = _mm256_adds_epi16(_mm256_packs_epi32(v0, v1), zero_point);
    const __m256i b = _mm256_adds_epi16(_mm256_packs_epi32(v2, v3), zero_point);
    return _mm256_packs_epi16(a, b);
  }
  __m256 highest;
  __m256i zero_point, low, high;
  bool clamps;
};

// Whether products of two codes with a scale, and the sum of two such, are within int32.
bool Fits(float scale) { return scale > -8192.0f && scale < 8192.0f; }

// y[i] from x[i], for x of any type: block(x + i) gives 32 codes.
template <typename X, typename Block>
void Map(const X* x, int8_t* y, int64_t n, Block block) {
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) Store(y + i, block(x + i));
  if (i == n) return;
  X rest[kBlock] = {};
  int8_t codes[kBlock];
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(X));
  Store(codes, block(rest));
  std::memcpy(y + i, codes, static_cast<size_t>(n - i));
}

}  // namespace
}  // namespace bitlite
