// vpdpwssd adds the products of two activations to each column's sum, exactly while the runs last;
// a block's columns are one vector.
#include <immintrin.h>

#include "gemm_s16.h"

namespace {
constexpr int kVectorBytes = 32;
}

#include "row_winograd_s16.inc"

namespace bitlite {
namespace {

constexpr int kMaxMr = 12;
constexpr int kMostParts = 4;  // int32 sums that wait to be added up
static_assert(kColumnsS16 == 16);

inline __m512i Pair(const int16_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

// Two weights of each column, as int16.
inline __m512i Weights(const int8_t* w) {
  return _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(w)));
}
inline __m512i Weights(const int16_t* w) { return _mm512_load_si512(w); }

// Those of the first half of the columns.
inline __m256i FirstWeights(const int8_t* w) {
  return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w)));
}
inline __m256i FirstWeights(const int16_t* w) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
}

// HALF: of blocks with no more columns, which half a vector holds.
template <typename W, int MR, bool HALF>
inline void AddPairs(__m512i (&acc)[MR], const int16_t* const* rows, int64_t at, const W* w,
                     int64_t pairs) {
  if constexpr (HALF) {
    __m256i half[MR];
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) half[r] = _mm512_castsi512_si256(acc[r]);
    for (; pairs > 0; --pairs, at += 2, w += 2 * kColumnsS16) {
      const __m256i b = FirstWeights(w);
#pragma GCC unroll 12
      for (int r = 0; r < MR; ++r) {
        const __m256i a = _mm512_castsi512_si256(Pair(rows[r] + at));
        half[r] = _mm256_dpwssd_epi32(half[r], b, a);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) acc[r] = _mm512_zextsi256_si512(half[r]);
    return;
  }
  for (; pairs > 0; --pairs, at += 2, w += 2 * kColumnsS16) {
    const __m512i b = Weights(w);
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) acc[r] = _mm512_dpwssd_epi32(acc[r], b, Pair(rows[r] + at));
  }
}

// The sums of a row of the tile, rounded to float32, as the outputs of its valid columns.
inline void Store(const GemmS16Tile& t, __m512 sums, int r) {
  const __mmask16 valid = static_cast<__mmask16>((1u << t.n) - 1);
  __m512 value = _mm512_mul_ps(sums, _mm512_loadu_ps(t.multiplier));
  if (t.real) value = _mm512_add_ps(value, _mm512_loadu_ps(t.bias_f32));
  value = _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(t.low)), _mm512_set1_ps(t.high));
  if (t.real) {
    _mm512_mask_storeu_ps(static_cast<float*>(t.y) + r * t.y_stride, valid, value);
  } else {
    _mm512_mask_cvtepi32_storeu_epi16(static_cast<int16_t*>(t.y) + r * t.y_stride, valid,
                                      _mm512_cvtps_epi32(value));
  }
}

// The sums of a tile that passes int32: of each run up to a flush int32, which add up in the end.
template <typename W, int MR, bool HALF>
[[gnu::noinline]] void WideTile(const GemmS16Tile& t) {
  __m512i parts[kMostParts][MR], sums[MR][2], acc[MR];
  int count = 0;
  for (int r = 0; r < MR; ++r) acc[r] = _mm512_setzero_si512();
  // A row's sums so far, of `from` and the parts.
  const auto sum = [&](int r, const __m512i* from, __m512i(&to)[2]) {
    to[0] = from[0];
    to[1] = from[1];
    for (int i = 0; i < count; ++i) {
      const __m512i part = parts[i][r];
      to[0] = _mm512_add_epi64(to[0], _mm512_cvtepi32_epi64(_mm512_castsi512_si256(part)));
      to[1] = _mm512_add_epi64(to[1], _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(part, 1)));
    }
  };
  const __m512i bias[2] = {_mm512_loadu_si512(t.bias), _mm512_loadu_si512(t.bias + 8)};
  bool folded = false;
  const W* w = static_cast<const W*>(t.w);
  for (const GemmS16Run* run = t.runs; run < t.runs + t.run_count; ++run) {
    AddPairs<W, MR, HALF>(acc, t.rows, t.segments[run->segment] + 2 * int64_t{run->first}, w,
                          run->pairs);
    w += 2 * kColumnsS16 * run->pairs;
    if (!run->flush) continue;
    if (count == kMostParts) {
      for (int r = 0; r < MR; ++r) sum(r, folded ? sums[r] : bias, sums[r]);
      folded = true;
      count = 0;
    }
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      parts[count][r] = acc[r];
      acc[r] = _mm512_setzero_si512();
    }
    ++count;
  }
  for (int r = 0; r < MR; ++r) {
    __m512i row[2];
    sum(r, folded ? sums[r] : bias, row);
    const __m256 low = _mm512_cvtepi64_ps(row[0]), high = _mm512_cvtepi64_ps(row[1]);
    Store(t, _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1), r);
  }
}

template <typename W, int MR, bool HALF>
inline void TileOf(const GemmS16Tile& t) {
  if (t.run_count > 0) return WideTile<W, MR, HALF>(t);
  __m512i bias = _mm512_setzero_si512();
  if (!t.sums) {
    const __m256i low = _mm512_cvtepi64_epi32(_mm512_loadu_si512(t.bias));
    const __m256i high = _mm512_cvtepi64_epi32(_mm512_loadu_si512(t.bias + 8));
    bias = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  __m512i acc[MR];
#pragma GCC unroll 12
  for (int r = 0; r < MR; ++r) acc[r] = bias;
  const W* w = static_cast<const W*>(t.w);
  for (int s = 0; s < t.segment_count; ++s, w += 2 * kColumnsS16 * t.segment_pairs) {
    AddPairs<W, MR, HALF>(acc, t.rows, t.segments[s], w, t.segment_pairs);
  }
  if (t.sums) {
#pragma GCC unroll 12
    for (int r = 0; r < MR; ++r) {
      _mm512_storeu_si512(static_cast<int32_t*>(t.y) + r * t.y_stride, acc[r]);
    }
    return;
  }
#pragma GCC unroll 12
  for (int r = 0; r < MR; ++r) Store(t, _mm512_cvtepi32_ps(acc[r]), r);
}

template <typename W, int MR>
void Tile(const GemmS16Tile& t) {
  return t.n <= kColumnsS16 / 2 ? TileOf<W, MR, true>(t) : TileOf<W, MR, false>(t);
}

void Pixels(const int32_t* m, int64_t step, const int32_t* bias, const GemmS16Tile& t, int count) {
  const __m512i d = _mm512_loadu_si512(m + 2 * step);
  const __m512i offset = _mm512_add_epi32(_mm512_loadu_si512(bias), _mm512_loadu_si512(m + step));
  const __m512i a = _mm512_add_epi32(_mm512_add_epi32(offset, _mm512_loadu_si512(m)), d);
  const __m512i b = _mm512_sub_epi32(_mm512_sub_epi32(offset, d), _mm512_loadu_si512(m + 3 * step));
  Store(t, _mm512_cvtepi32_ps(_mm512_srai_epi32(a, 1)), 0);
  if (count > 1) Store(t, _mm512_cvtepi32_ps(_mm512_srai_epi32(b, 1)), 1);
}

template <typename W>
constexpr GemmS16TileFn kTiles[] = {nullptr,     Tile<W, 1>,  Tile<W, 2>, Tile<W, 3>, Tile<W, 4>,
                                    Tile<W, 5>,  Tile<W, 6>,  Tile<W, 7>, Tile<W, 8>, Tile<W, 9>,
                                    Tile<W, 10>, Tile<W, 11>, Tile<W, 12>};

GemmS16TileFn GetTile(int mr, bool wide) { return wide ? kTiles<int16_t>[mr] : kTiles<int8_t>[mr]; }

}  // namespace

const GemmS16Kernel& gemm_s16_avx512vnni() {
  static constexpr GemmS16Kernel kKernel = {kMaxMr, GetTile, 100, Windows, Pixels};
  return kKernel;
}

}  // namespace bitlite
