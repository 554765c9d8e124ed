// vpmaddubsw adds two products of codes 0 .. 15 with digits: those of four lines fit in 16 bits.
#include <immintrin.h>

#include "gemv_s4.h"

namespace bitlite {
namespace {

constexpr int64_t kAhead = 4096;  // bytes of codes that are fetched ahead
constexpr int kLines = 4;         // 8 * 2 * 15 * 128 < 2^15

inline __m256i FourOf(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// Digits of L lines, fours of them for each column: [digit][line][2].
template <int L, int D>
inline void Spread(const int8_t* x, __m256i* wide) {
#pragma GCC unroll 4
  for (int d = 0; d < D; ++d) {
#pragma GCC unroll 8
    for (int i = 0; i < 2 * L; ++i) *wide++ = FourOf(x + (i / 2 * D + d) * kNibbles + i % 2 * 4);
  }
}

// Adds the sums of L lines of 8 columns: codes are unpacked once for all digits.
template <int L, int D>
inline void AddLines(const uint32_t* w, int64_t width, const __m256i* x, __m256i (&sums)[D]) {
  const __m256i low = _mm256_set1_epi8(15);
  __m256i codes[2 * L];
#pragma GCC unroll 4
  for (int l = 0; l < L; ++l) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + l * width));
    codes[2 * l] = _mm256_and_si256(words, low);
    codes[2 * l + 1] = _mm256_and_si256(_mm256_srli_epi32(words, 4), low);
  }
#pragma GCC unroll 4
  for (int d = 0; d < D; ++d, x += 2 * L) {
    __m256i part = _mm256_maddubs_epi16(codes[0], x[0]);
#pragma GCC unroll 8
    for (int i = 1; i < 2 * L; ++i) {
      part = _mm256_add_epi16(part, _mm256_maddubs_epi16(codes[i], x[i]));
    }
    sums[d] = _mm256_add_epi32(sums[d], _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
  }
}

// Adds a block's sums of 8 columns to y.
template <int D>
inline void AddBlock(const GemvS4Tile& t, int64_t b, const __m256i (&sums)[D], int64_t column,
                     float* y) {
  const __m256 base = _mm256_set1_ps(256.0f);
  __m256 sum = _mm256_cvtepi32_ps(sums[D - 1]);
#pragma GCC unroll 4
  for (int d = D - 2; d >= 0; --d) sum = _mm256_fmadd_ps(sum, base, _mm256_cvtepi32_ps(sums[d]));
  sum = _mm256_mul_ps(sum, _mm256_set1_ps(t.units[b]));
  const int64_t at = b * t.width + column;
  __m256 to = _mm256_load_ps(y);
  if (t.offset != nullptr) {
    to = _mm256_fmadd_ps(_mm256_set1_ps(t.row_sums[b]), _mm256_loadu_ps(t.offset + at), to);
  }
  _mm256_store_ps(y, _mm256_fmadd_ps(sum, _mm256_loadu_ps(t.scale + at), to));
}

template <int D>
inline void AllColumns(const GemvS4Tile& t) {
  alignas(32) float y[kMostColumnsS4];
  __m256i sums[kMostColumnsS4 / 8][D], wide[kLines * D * 2];
  __builtin_memcpy(y, t.bias, sizeof(float) * static_cast<size_t>(t.width));
  const int8_t* x = t.x;
  const uint32_t* w = t.w;
  const int64_t strips = t.width / 8;
  for (int64_t b = 0; b < t.blocks; ++b) {
    for (int64_t s = 0; s < strips; ++s) {
      for (int d = 0; d < D; ++d) sums[s][d] = _mm256_set1_epi32(t.first[b * kMostDigits + d]);
    }
    int64_t l = 0;
    for (; l + kLines <= t.lines; l += kLines, w += kLines * t.width, x += kLines * D * kNibbles) {
      Spread<kLines, D>(x, wide);
      for (int64_t s = 0; s < strips; ++s) {
        _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead + s * 128, _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead + s * 128 + 64, _MM_HINT_T0);
        AddLines<kLines, D>(w + 8 * s, t.width, wide, sums[s]);
      }
    }
    for (; l < t.lines; ++l, w += t.width, x += D * kNibbles) {
      Spread<1, D>(x, wide);
      for (int64_t s = 0; s < strips; ++s) AddLines<1, D>(w + 8 * s, t.width, wide, sums[s]);
    }
    for (int64_t s = 0; s < strips; ++s) AddBlock<D>(t, b, sums[s], 8 * s, y + 8 * s);
  }
  const __m256 lo = _mm256_set1_ps(t.lo), hi = _mm256_set1_ps(t.hi);
  for (int64_t j = 0; j < t.width; j += 8) {
    const __m256 bounded = _mm256_min_ps(_mm256_max_ps(_mm256_load_ps(y + j), lo), hi);
    _mm256_store_ps(y + j, bounded);
  }
  __builtin_memcpy(t.y, y, sizeof(float) * static_cast<size_t>(t.n));
}

}  // namespace

void gemv_s4_avx2(const GemvS4Tile& t) {
  return t.digits == kDigits ? AllColumns<kDigits>(t) : AllColumns<kMostDigits>(t);
}

}  // namespace bitlite
