// Without VNNI, exact whatever the weights: vpmaddubsw takes an unsigned and a signed factor and
// adds two products in 16 bits, where 255 * 127 twice would saturate. A magnitude of at most 128
// with a weight cannot: with x = s |x| and the complement ~w = -w - 1,
//   x w = |x| w                 where x >= 0
//   x w = |x| ~w + |x|          where x < 0
// so that a weight xor the activation's sign (0 or -1) times the magnitude lacks only the sum of a
// row's negative magnitudes, the same for all columns: `row_terms`. The instructions are those of
// gemm_s8_pairs_avx2.cc and a xor, which leaves the multipliers' ports free.
#include <immintrin.h>

#include <cstring>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"
#include "kernels/winograd_s8/winograd_s8.h"
#include "kernels/winograd_s8/winograd_s8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_pairs_avx2();

namespace {

constexpr int kStep = 4;
constexpr int kMaxNv = 4;
// Weights that are read once come from the second level of cache or beyond: so many bytes ahead.
constexpr int kAhead = 512;

void Load(void* dst, const int8_t* src, int64_t n) {
  std::memcpy(dst, src, static_cast<size_t>(n));
}

void Split(uint8_t* image, int64_t n, int64_t signs) {
  const __m256i zero = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(image + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(image + i), _mm256_abs_epi8(x));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(image + signs + i), _mm256_cmpgt_epi8(zero, x));
  }
}

// How a segment is read: whole vectors, their sums kept in 16 bits or, in rows of more than
// kNarrowBytes, in 32; half a vector; less than that.
enum class Whole : uint8_t { kNone, kNarrow, kWide };
constexpr int64_t kNarrowBytes = 32 * 127;  // so many sums of pairs, of at most 256, fit

// ROWS at a time: four, or the only one.
template <int ROWS, Whole WHOLE, bool HALF, bool REST>
void RowTermsOf(const RowsS8& rows, int32_t* terms) {
  const __m256i one = _mm256_set1_epi16(1);
  const int64_t whole = rows.segment_bytes / 32 * 32, half = HALF ? 16 : 0;
  const int lanes = static_cast<int>(rows.segment_bytes % 16 / kStep);
  const __m128i rest = _mm_cmpgt_epi32(_mm_set1_epi32(lanes), _mm_setr_epi32(0, 1, 2, 3));
  for (int64_t m = 0; m < rows.count; m += ROWS) {
    const uint8_t* row[ROWS];
    for (int64_t i = 0; i < ROWS; ++i) row[i] = rows.address[m + i < rows.count ? m + i : m];
    __m256i sums[4], wide[4];
    for (int i = 0; i < 4; ++i) sums[i] = wide[i] = _mm256_setzero_si256();
    const auto take = [&](int i, __m256i pairs) {
      if constexpr (WHOLE == Whole::kWide) {
        wide[i] = _mm256_add_epi32(wide[i], _mm256_madd_epi16(pairs, one));
      } else {
        sums[i] = _mm256_add_epi16(sums[i], pairs);
      }
    };
    for (int64_t s = 0; s < rows.segment_count; ++s) {
      const int64_t at = rows.segments[s];
      for (int64_t o = at; WHOLE != Whole::kNone && o < at + whole; o += 32) {
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
          const __m256i* x = reinterpret_cast<const __m256i*>(row[i] + o);
          const __m256i* y = reinterpret_cast<const __m256i*>(row[i] + o + rows.signs);
          take(i, _mm256_maddubs_epi16(_mm256_loadu_si256(x), _mm256_loadu_si256(y)));
        }
      }
      if constexpr (HALF) {
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
          const __m128i* x = reinterpret_cast<const __m128i*>(row[i] + at + whole);
          const __m128i* y = reinterpret_cast<const __m128i*>(row[i] + at + whole + rows.signs);
          take(i,
               _mm256_zextsi128_si256(_mm_maddubs_epi16(_mm_loadu_si128(x), _mm_loadu_si128(y))));
        }
      }
      if constexpr (REST) {
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i) {
          const uint8_t* x = row[i] + at + whole + half;
          const __m128i a = _mm_maskload_epi32(reinterpret_cast<const int*>(x), rest);
          const __m128i b = _mm_maskload_epi32(reinterpret_cast<const int*>(x + rows.signs), rest);
          take(i, _mm256_zextsi128_si256(_mm_maddubs_epi16(a, b)));
        }
      }
    }
    if constexpr (WHOLE != Whole::kWide) {
      for (int i = 0; i < 4; ++i) wide[i] = _mm256_madd_epi16(sums[i], one);
    }
    const __m256i four =
        _mm256_hadd_epi32(_mm256_hadd_epi32(wide[0], wide[1]), _mm256_hadd_epi32(wide[2], wide[3]));
    const __m128i negatives =
        _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    const __m128i magnitudes = _mm_sub_epi32(_mm_setzero_si128(), negatives);
    if (m + 4 <= rows.count) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(terms + m), magnitudes);
    } else {
      const int left = static_cast<int>(rows.count - m);
      const __m128i valid = _mm_cmpgt_epi32(_mm_set1_epi32(left), _mm_setr_epi32(0, 1, 2, 3));
      _mm_maskstore_epi32(terms + m, valid, magnitudes);
    }
  }
}

template <int ROWS, Whole WHOLE>
void RowTermsOf(const RowsS8& rows, int32_t* terms) {
  const bool half = rows.segment_bytes % 32 >= 16, rest = rows.segment_bytes % 16 > 0;
  if (half && rest) return RowTermsOf<ROWS, WHOLE, true, true>(rows, terms);
  if (half) return RowTermsOf<ROWS, WHOLE, true, false>(rows, terms);
  if (rest) return RowTermsOf<ROWS, WHOLE, false, true>(rows, terms);
  RowTermsOf<ROWS, WHOLE, false, false>(rows, terms);
}

template <int ROWS>
void RowTermsOf(const RowsS8& rows, int32_t* terms) {
  if (rows.segment_count * (rows.segment_bytes + 32) > kNarrowBytes) {
    return RowTermsOf<ROWS, Whole::kWide>(rows, terms);
  }
  if (rows.segment_bytes >= 32) return RowTermsOf<ROWS, Whole::kNarrow>(rows, terms);
  RowTermsOf<ROWS, Whole::kNone>(rows, terms);
}

void RowTerms(const RowsS8& rows, int32_t* terms) {
  rows.count == 1 ? RowTermsOf<1>(rows, terms) : RowTermsOf<4>(rows, terms);
}

template <int NV, int MR>
[[gnu::always_inline]] inline void AddStep(const uint8_t* const* rows, int64_t signs,
                                           int64_t offset, const int8_t* w,
                                           __m256i (&acc)[MR][NV]) {
  const __m256i one = _mm256_set1_epi16(1);
  __m256i b[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    b[v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32 * v));
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r) {
    const __m256i a = Broadcast(rows[r] + offset), s = Broadcast(rows[r] + offset + signs);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const __m256i pairs = _mm256_maddubs_epi16(a, _mm256_xor_si256(b[v], s));
      acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(pairs, one));
    }
  }
}

template <typename T>
const T* From(const T* values, int column) {
  return values == nullptr ? nullptr : values + column;
}

// The outputs of the vectors [V, NV), two at a time. A call, so that the loop above has the
// registers to itself.
template <int NV, int MR, int V = 0>
[[gnu::noinline]] void StorePairs(const GemmS8Tile& t, const __m256i (&acc)[MR][NV]) {
  if constexpr (V < NV) {
    constexpr int kPair = NV - V < 2 ? 1 : 2;
    constexpr int kColumn = V * kLanes;
    if (t.n <= kColumn) return;
    const bool wide = t.out == GemmS8Out::kF32 || t.out == GemmS8Out::kS32;
    GemmS8Tile part = t;
    part.n = t.n - kColumn < kPair * kLanes ? t.n - kColumn : kPair * kLanes;
    part.y = static_cast<uint8_t*>(t.y) + kColumn * (wide ? 4 : 1);
    part.multiplier = From(t.multiplier, kColumn);
    part.bias_f32 = From(t.bias_f32, kColumn);
    part.sums = From(t.sums, kColumn);
    part.residual = From(t.residual, kColumn);
    part.gemmlowp = {From(t.gemmlowp.left, kColumn), From(t.gemmlowp.mantissa, kColumn),
                     From(t.gemmlowp.half, kColumn), From(t.gemmlowp.right, kColumn),
                     From(t.gemmlowp.edge, kColumn)};
    __m256i pair[MR][kPair];
    for (int r = 0; r < MR; ++r) {
      for (int v = 0; v < kPair; ++v) pair[r][v] = acc[r][V + v];
    }
    Store<kPair, MR>(part, pair);
    StorePairs<NV, MR, V + kPair>(t, acc);
  }
}

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  __m256i acc[MR][NV];
  LoadBias<NV, MR>(t, acc);
  const int8_t* w = t.w;
  const uint8_t* const row = t.rows[0];
  const int64_t signs = t.signs;
  for (int s = 0; s < t.segment_count; ++s) {
    int64_t o = t.segments[s];
    int k = t.segment_steps;
    if constexpr (MR == 1) {
      constexpr int kSteps = 2;
      for (; k >= kSteps; k -= kSteps, o += kSteps * kStep, w += kSteps * 32 * NV) {
        for (int v = 0; v < kSteps * NV; v += 2) {
          _mm_prefetch(reinterpret_cast<const char*>(w + 32 * v + kAhead), _MM_HINT_T0);
        }
        for (int i = 0; i < kSteps; ++i) {
          AddStep<NV, MR>(&row, signs, o + i * kStep, w + i * 32 * NV, acc);
        }
      }
    }
    for (; k > 0; --k, o += kStep, w += 32 * NV) AddStep<NV, MR>(t.rows, signs, o, w, acc);
  }
  if constexpr (NV <= 2) {
    Store<NV, MR>(t, acc);
  } else {
    if (t.out == GemmS8Out::kF32 && t.n == NV * kLanes) return StoreFloats<NV, MR>(t, acc);
    // A copy, so that the accumulators have no address and stay in registers.
    __m256i stored[MR][NV];
#pragma GCC unroll 2
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) stored[r][v] = acc[r][v];
    }
    StorePairs<NV, MR>(t, stored);
  }
}

constexpr int kMaxMr[kMaxNv + 1] = {0, 6, 4, 2, 2};
constexpr GemmS8TileFn kTiles[kMaxNv + 1][7] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>, Tile<1, 5>, Tile<1, 6>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>},
    {nullptr, Tile<3, 1>, Tile<3, 2>},
    {nullptr, Tile<4, 1>, Tile<4, 2>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_avx2() {
  static constexpr GemmS8Kernel kKernel = {
      kLanes, 2,        kStep, LhsPacking::kSigns, kMaxMr, Column, GetTile, Load, 80, &kWinograd,
      Split,  RowTerms, 0,     gemm_s8_pairs_avx2, kMaxNv};
  return kKernel;
}

}  // namespace bitlite
