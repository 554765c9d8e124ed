// vpmaddwd adds the products of two activations exactly, on weights widened to int16.
#include <immintrin.h>

#include "gemm_s16.h"
#include "requant_s16.h"

namespace bitlite {
namespace {

constexpr int kMaxMr = 5;
constexpr int kVectors = kColumnsS16 / 8;

inline __m256i Pair(const int16_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

template <int MR>
inline void AddPairs(__m256i (&acc)[MR][kVectors], const int16_t* const* rows, int64_t at,
                     const int8_t* w, int64_t pairs) {
  for (; pairs > 0; --pairs, at += 2, w += 2 * kColumnsS16) {
    __m256i b[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      b[v] = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * v)));
    }
#pragma GCC unroll 5
    for (int r = 0; r < MR; ++r) {
      const __m256i a = Pair(rows[r] + at);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(a, b[v]));
      }
    }
  }
}

// The sums of a tile that passes int32: what has been added so far goes into int64 again and again.
template <int MR>
[[gnu::noinline]] void WideTile(const GemmS16Tile& t) {
  int64_t sums[MR][kColumnsS16];
  for (int r = 0; r < MR; ++r) {
    for (int c = 0; c < kColumnsS16; ++c) sums[r][c] = t.bias[c];
  }
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    for (int32_t p = 0; p < t.segment_pairs; p += t.exact_pairs) {
      const int32_t left = t.segment_pairs - p, pairs = left < t.exact_pairs ? left : t.exact_pairs;
      __m256i acc[MR][kVectors];
      for (int r = 0; r < MR; ++r) {
        for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm256_setzero_si256();
      }
      AddPairs<MR>(acc, t.rows, t.segments[s] + 2 * static_cast<int64_t>(p), w, pairs);
      w += 2 * kColumnsS16 * pairs;
      for (int r = 0; r < MR; ++r) {
        alignas(32) int32_t part[kColumnsS16];
        for (int v = 0; v < kVectors; ++v) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(part + 8 * v), acc[r][v]);
        }
        for (int c = 0; c < kColumnsS16; ++c) sums[r][c] += part[c];
      }
    }
  }
  for (int r = 0; r < MR; ++r) StoreS16(t, sums[r], r);
}

template <int MR>
void Tile(const GemmS16Tile& t) {
  if (t.exact_pairs > 0) return WideTile<MR>(t);
  __m256i acc[MR][kVectors];
  alignas(32) int32_t bias[kColumnsS16];
  for (int c = 0; c < kColumnsS16; ++c) bias[c] = static_cast<int32_t>(t.bias[c]);
#pragma GCC unroll 5
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bias + 8 * v));
    }
  }
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s, w += 2 * kColumnsS16 * t.segment_pairs) {
    AddPairs<MR>(acc, t.rows, t.segments[s], w, t.segment_pairs);
  }
  const __m256 low = _mm256_set1_ps(t.low), high = _mm256_set1_ps(t.high);
  alignas(32) int16_t part[kColumnsS16];
  alignas(32) float reals[kColumnsS16];
#pragma GCC unroll 5
  for (int r = 0; r < MR; ++r) {
    __m256 value[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      value[v] =
          _mm256_mul_ps(_mm256_cvtepi32_ps(acc[r][v]), _mm256_loadu_ps(t.multiplier + 8 * v));
      if (t.real) value[v] = _mm256_add_ps(value[v], _mm256_loadu_ps(t.bias_f32 + 8 * v));
      value[v] = _mm256_min_ps(_mm256_max_ps(value[v], low), high);
    }
    if (t.real) {
      float* y = static_cast<float*>(t.y) + r * t.y_stride;
      float* to = t.n == kColumnsS16 ? y : reals;
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(to + 8 * v, value[v]);
      if (to == reals) __builtin_memcpy(y, reals, sizeof(float) * static_cast<size_t>(t.n));
    } else {
      int16_t* y = static_cast<int16_t*>(t.y) + r * t.y_stride;
      const __m256i codes = _mm256_permute4x64_epi64(
          _mm256_packs_epi32(_mm256_cvtps_epi32(value[0]), _mm256_cvtps_epi32(value[1])), 0xd8);
      if (t.n == kColumnsS16) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), codes);
      } else {
        _mm256_store_si256(reinterpret_cast<__m256i*>(part), codes);
        __builtin_memcpy(y, part, sizeof(int16_t) * static_cast<size_t>(t.n));
      }
    }
  }
}

GemmS16TileFn GetTile(int mr) {
  constexpr GemmS16TileFn kTiles[] = {nullptr, Tile<1>, Tile<2>, Tile<3>, Tile<4>, Tile<5>};
  return kTiles[mr];
}

}  // namespace

const GemmS16Kernel& gemm_s16_avx2() {
  static constexpr GemmS16Kernel kKernel = {kMaxMr, GetTile, 60};
  return kKernel;
}

}  // namespace bitlite
