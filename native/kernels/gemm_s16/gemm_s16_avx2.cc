// vpmaddwd adds the products of two activations exactly, on weights of int16 or widened to it.
#include <immintrin.h>

#include "gemm_s16.h"
#include "requant_s16.h"

namespace {
constexpr int kVectorBytes = 32;
}

#include "row_winograd_s16.inc"

namespace bitlite {
namespace {

constexpr int kMaxMr = 5;
constexpr int kMostParts = 4;  // int32 sums that wait to be added up
constexpr int kVectors = kColumnsS16 / 8;

inline __m256i Pair(const int16_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm256_set1_epi32(v);
}

// 16 weights, as int16.
inline __m256i Weights(const int8_t* w) {
  return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w)));
}
inline __m256i Weights(const int16_t* w) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
}

// V: the vectors of columns that the block has.
template <typename W, int MR, int V>
inline void AddPairs(__m256i (&acc)[MR][kVectors], const int16_t* const* rows, int64_t at,
                     const W* w, int64_t pairs) {
  for (; pairs > 0; --pairs, at += 2, w += 2 * kColumnsS16) {
    __m256i b[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) b[v] = Weights(w + 16 * v);
#pragma GCC unroll 5
    for (int r = 0; r < MR; ++r) {
      const __m256i a = Pair(rows[r] + at);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(a, b[v]));
      }
    }
  }
}

// The sums of a row of the tile, rounded to float32, as the outputs of its valid columns.
inline void Store(const GemmS16Tile& t, const __m256 (&sums)[kVectors], int r) {
  const __m256 low = _mm256_set1_ps(t.low), high = _mm256_set1_ps(t.high);
  alignas(32) int16_t part[kColumnsS16];
  alignas(32) float reals[kColumnsS16];
  __m256 value[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    value[v] = _mm256_mul_ps(sums[v], _mm256_loadu_ps(t.multiplier + 8 * v));
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

// int64 sums as float32: through doubles that hold them, so that they are rounded once.
inline __m128 Float32(__m256i sums) {
  const __m256d offset = _mm256_set1_pd(0x1.8p52);
  const __m256i shifted = _mm256_add_epi64(sums, _mm256_castpd_si256(offset));
  return _mm256_cvtpd_ps(_mm256_sub_pd(_mm256_castsi256_pd(shifted), offset));
}

// The sums of a tile that passes int32: of each run up to a flush int32, which add up in the end.
template <typename W, int MR, int V>
[[gnu::noinline]] void WideTile(const GemmS16Tile& t) {
  constexpr int kQuarters = kColumnsS16 / 4;
  __m256i parts[kMostParts][MR][kVectors], sums[MR][kQuarters], acc[MR][kVectors];
  int count = 0;
  for (int r = 0; r < MR; ++r) {
    for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm256_setzero_si256();
  }
  // A row's sums so far, of `from` and the parts.
  const auto sum = [&](int r, const __m256i* from, __m256i(&to)[kQuarters]) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      __m256i low = _mm256_loadu_si256(from + 2 * v), high = _mm256_loadu_si256(from + 2 * v + 1);
      for (int i = 0; i < count; ++i) {
        const __m256i part = parts[i][r][v];
        low = _mm256_add_epi64(low, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(part)));
        high = _mm256_add_epi64(high, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(part, 1)));
      }
      to[2 * v] = low;
      to[2 * v + 1] = high;
    }
  };
  const __m256i* bias = reinterpret_cast<const __m256i*>(t.bias);
  bool folded = false;
  const W* w = static_cast<const W*>(t.w);
  for (const GemmS16Run* run = t.runs; run < t.runs + t.run_count; ++run) {
    AddPairs<W, MR, V>(acc, t.rows, t.segments[run->segment] + 2 * int64_t{run->first}, w,
                       run->pairs);
    w += 2 * kColumnsS16 * run->pairs;
    if (!run->flush) continue;
    if (count == kMostParts) {
      for (int r = 0; r < MR; ++r) sum(r, folded ? sums[r] : bias, sums[r]);
      folded = true;
      count = 0;
    }
#pragma GCC unroll 5
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        parts[count][r][v] = acc[r][v];
        acc[r][v] = _mm256_setzero_si256();
      }
    }
    ++count;
  }
  for (int r = 0; r < MR; ++r) {
    __m256i row[kQuarters];
    sum(r, folded ? sums[r] : bias, row);
    if (!t.in_double) {
      alignas(32) int64_t whole[kColumnsS16];
      __builtin_memcpy(whole, row, sizeof(whole));
      StoreS16(t, whole, r);
      continue;
    }
    __m256 value[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      value[v] = _mm256_set_m128(Float32(row[2 * v + 1]), Float32(row[2 * v]));
    }
    Store(t, value, r);
  }
}

template <typename W, int MR, int V>
inline void TileOf(const GemmS16Tile& t) {
  if (t.run_count > 0) return WideTile<W, MR, V>(t);
  __m256i acc[MR][kVectors];
  alignas(32) int32_t bias[kColumnsS16];
  if (t.sums) {
    __builtin_memset(bias, 0, sizeof(bias));
  } else {
    for (int c = 0; c < kColumnsS16; ++c) bias[c] = static_cast<int32_t>(t.bias[c]);
  }
#pragma GCC unroll 5
  for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bias + 8 * v));
    }
  }
  const W* w = static_cast<const W*>(t.w);
  for (int s = 0; s < t.segment_count; ++s, w += 2 * kColumnsS16 * t.segment_pairs) {
    AddPairs<W, MR, V>(acc, t.rows, t.segments[s], w, t.segment_pairs);
  }
  if (t.sums) {
#pragma GCC unroll 5
    for (int r = 0; r < MR; ++r) {
      int32_t* y = static_cast<int32_t*>(t.y) + r * t.y_stride;
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + 8 * v), acc[r][v]);
      }
    }
    return;
  }
#pragma GCC unroll 5
  for (int r = 0; r < MR; ++r) {
    __m256 value[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) value[v] = _mm256_cvtepi32_ps(acc[r][v]);
    Store(t, value, r);
  }
}

template <typename W, int MR>
void Tile(const GemmS16Tile& t) {
  return t.n <= 8 ? TileOf<W, MR, 1>(t) : TileOf<W, MR, kVectors>(t);
}

void Pixels(const int32_t* m, int64_t step, const int32_t* bias, const GemmS16Tile& t, int count) {
  __m256 first[kVectors], second[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const auto load = [&](const int32_t* from) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 8 * v));
    };
    const __m256i d = load(m + 2 * step), offset = _mm256_add_epi32(load(bias), load(m + step));
    const __m256i a = _mm256_add_epi32(_mm256_add_epi32(offset, load(m)), d);
    const __m256i b = _mm256_sub_epi32(_mm256_sub_epi32(offset, d), load(m + 3 * step));
    first[v] = _mm256_cvtepi32_ps(_mm256_srai_epi32(a, 1));
    second[v] = _mm256_cvtepi32_ps(_mm256_srai_epi32(b, 1));
  }
  Store(t, first, 0);
  if (count > 1) Store(t, second, 1);
}

template <typename W>
constexpr GemmS16TileFn kTiles[] = {nullptr,    Tile<W, 1>, Tile<W, 2>,
                                    Tile<W, 3>, Tile<W, 4>, Tile<W, 5>};

GemmS16TileFn GetTile(int mr, bool wide) { return wide ? kTiles<int16_t>[mr] : kTiles<int8_t>[mr]; }

}  // namespace

const GemmS16Kernel& gemm_s16_avx2() {
  static constexpr GemmS16Kernel kKernel = {kMaxMr, GetTile, 60, Windows, Pixels};
  return kKernel;
}

}  // namespace bitlite
