// vpmaddubsw adds two products of codes 0 .. 15 with digits: those of four lines fit in 16 bits.
#include <immintrin.h>

#include "gemv_s4.h"

namespace bitlite {
namespace {

constexpr int64_t kAhead = 4096;  // bytes of codes that are fetched ahead, in the order in memory
constexpr int64_t kFactorsAhead = 256;
constexpr int kLines = 4;   // 8 * 2 * 15 * 128 < 2^15
constexpr int kStrips = 2;  // of 8 columns, which share what they read of the activations
static_assert(kStrips * 8 == kColumnsS4);

inline __m256i FourOf(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// Adds the sums of L lines: codes are unpacked once for all digits, and digits are read once for
// all strips. Held back, the compiler neither adds in another order nor keeps all digits, for which
// there are not enough registers.
template <int L, int D>
inline void AddLines(const uint32_t* w, const char* ahead, int64_t width, const int8_t* x,
                     __m256i (&sums)[kStrips][kPairs]) {
  const __m256i low = _mm256_set1_epi8(15);
  __m256i part[kStrips][D];
  asm("" : "+r"(x));
#pragma GCC unroll 4
  for (int l = 0; l < L; ++l, w += width) {
    _mm_prefetch(ahead + l * kColumnsS4 * 4, _MM_HINT_T0);
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      __m256i codes[kStrips];
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
        __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 8 * s));
        if (odd) words = _mm256_srli_epi32(words, 4);
        codes[s] = _mm256_and_si256(words, low);
      }
#pragma GCC unroll 4
      for (int d = 0; d < D; ++d) {
        const __m256i four = FourOf(x + (l * D + d) * kNibbles + odd * 4);
#pragma GCC unroll 2
        for (int s = 0; s < kStrips; ++s) {
          const __m256i pairs = _mm256_maddubs_epi16(codes[s], four);
          part[s][d] = l + odd == 0 ? pairs : _mm256_add_epi16(part[s][d], pairs);
          asm("" : "+x"(part[s][d]));
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int d = 0; d < D; ++d) {
    const __m256i power = _mm256_set1_epi16(d % 2 == 0 ? 1 : 256);
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
      const __m256i wide = _mm256_madd_epi16(part[s][d], power);
      sums[s][d / 2] = _mm256_add_epi32(sums[s][d / 2], wide);
    }
  }
}

// The sums of a block's lines, of strips of 8 columns: a few lines of all columns after the others,
// so that codes are read in the order in which they lie. Lines: how many it has, where that is
// known.
template <int D, int Lines>
inline void SumBlock(const GemvS4Tile& t, int64_t b, __m256i (&block)[kMostColumnsS4 / 8][kPairs]) {
  const int64_t lines = Lines > 0 ? Lines : t.lines;
  const int8_t* x = t.x + b * lines * D * kNibbles;
  const uint32_t* w = t.w + b * lines * t.width;
  const int64_t whole = lines / kLines * kLines;
  for (int64_t l = 0; l < lines; l += l < whole ? kLines : 1) {
    for (int64_t column = 0; column < t.width; column += kColumnsS4) {
      __m256i sums[kStrips][kPairs];
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 2
        for (int p = 0; p < kPairs; ++p) {
          sums[s][p] =
              l == 0 ? _mm256_set1_epi32(t.first[b * kPairs + p]) : block[column / 8 + s][p];
        }
      }
      const uint32_t *line = w + l * t.width, *words = line + column;
      const int64_t count = l < whole ? kLines : 1;
      const char* ahead = reinterpret_cast<const char*>(line + count * column) + kAhead;
      if (l < whole) {
        AddLines<kLines, D>(words, ahead, t.width, x + l * D * kNibbles, sums);
      } else {
        AddLines<1, D>(words, ahead, t.width, x + l * D * kNibbles, sums);
      }
#pragma GCC unroll 2
      for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 2
        for (int p = 0; p < kPairs; ++p) block[column / 8 + s][p] = sums[s][p];
      }
    }
  }
}

// What becomes of a block's sums takes one operation behind the other: it is done for all columns
// at once.
template <int D, int Lines>
inline void AllColumns(const GemvS4Tile& t) {
  alignas(32) float y[kMostColumnsS4];
  __builtin_memcpy(y, t.bias, sizeof(float) * static_cast<size_t>(t.width));
  const __m256 high = _mm256_set1_ps(65536.0f);
  __m256i block[kMostColumnsS4 / 8][kPairs];
  for (int64_t b = 0; b < t.blocks; ++b) {
    SumBlock<D, Lines>(t, b, block);
    const __m256 unit = _mm256_set1_ps(t.units[b]);
    const __m256 row_sum = _mm256_set1_ps(t.offset == nullptr ? 0.0f : t.row_sums[b]);
    const auto fetch = [](const float* factors) {
      _mm_prefetch(factors + kFactorsAhead, _MM_HINT_T0);
      return _mm256_loadu_ps(factors);
    };
    for (int64_t j = 0; j < t.width; j += 8) {
      const __m256i* sums = block[j / 8];
      const __m256 sum =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[1]), high, _mm256_cvtepi32_ps(sums[0]));
      __m256 before = _mm256_load_ps(y + j);
      if (t.offset != nullptr) {
        before = _mm256_fmadd_ps(row_sum, fetch(t.offset + b * t.width + j), before);
      }
      const __m256 scale = fetch(t.scale + b * t.width + j);
      _mm256_store_ps(y + j, _mm256_fmadd_ps(_mm256_mul_ps(sum, unit), scale, before));
    }
  }
  const __m256 lo = _mm256_set1_ps(t.lo), hi = _mm256_set1_ps(t.hi);
  for (int64_t j = 0; j < t.width; j += 8) {
    const __m256 bounded = _mm256_min_ps(_mm256_max_ps(_mm256_load_ps(y + j), lo), hi);
    _mm256_store_ps(y + j, bounded);
  }
  __builtin_memcpy(t.y, y, sizeof(float) * static_cast<size_t>(t.n));
}

template <int D>
inline void Tile(const GemvS4Tile& t) {
  return t.lines == kLines ? AllColumns<D, kLines>(t) : AllColumns<D, 0>(t);
}

}  // namespace

void gemv_s4_avx2(const GemvS4Tile& t) {
  return t.digits == kDigits ? Tile<kDigits>(t) : Tile<kMostDigits>(t);
}

}  // namespace bitlite
