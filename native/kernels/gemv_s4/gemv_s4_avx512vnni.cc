// vpdpbusd adds four products of codes 0 .. 15 with digits to each column.
#include <immintrin.h>

#include "gemv_s4.h"

namespace bitlite {
namespace {

constexpr int64_t kAhead = 4096;  // bytes of codes that are fetched ahead

inline __m512i FourOf(const int8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

template <int V, int D>
inline void Columns(const GemvS4Tile& t, int64_t column) {
  const int8_t* x = t.x;
  const uint32_t* w = t.w + column;
  const __m512i low = _mm512_set1_epi8(15);
  __m512 y[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) y[v] = _mm512_loadu_ps(t.bias + column + 16 * v);
  for (int64_t b = 0; b < t.blocks; ++b) {
    __m512i sums[V][D];
#pragma GCC unroll 4
    for (int d = 0; d < D; ++d) {
      // That of a pair stands with its lower digit.
      const __m512i first = _mm512_set1_epi32(d % 2 == 0 ? t.first[b * kPairs + d / 2] : 0);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[v][d] = first;
    }
    for (int64_t l = 0; l < t.lines; ++l, w += t.width, x += D * kNibbles) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const __m512i words = _mm512_loadu_si512(w + 16 * v);
        _mm_prefetch(reinterpret_cast<const char*>(w + 16 * v) + kAhead, _MM_HINT_T0);
        const __m512i even = _mm512_and_si512(words, low);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(words, 4), low);
#pragma GCC unroll 4
        for (int d = 0; d < D; ++d) {
          sums[v][d] = _mm512_dpbusd_epi32(sums[v][d], even, FourOf(x + kNibbles * d));
          sums[v][d] = _mm512_dpbusd_epi32(sums[v][d], odd, FourOf(x + kNibbles * d + 4));
        }
      }
    }
    const __m512 unit = _mm512_set1_ps(t.units[b]), high = _mm512_set1_ps(65536.0f);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
#pragma GCC unroll 4
      for (int d = 1; d < D; d += 2) {
        sums[v][d - 1] = _mm512_add_epi32(sums[v][d - 1], _mm512_slli_epi32(sums[v][d], 8));
      }
      const __m512 sum =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[v][2]), high, _mm512_cvtepi32_ps(sums[v][0]));
      const int64_t at = b * t.width + column + 16 * v;
      if (t.offset != nullptr) {
        y[v] = _mm512_fmadd_ps(_mm512_set1_ps(t.row_sums[b]), _mm512_loadu_ps(t.offset + at), y[v]);
      }
      y[v] = _mm512_fmadd_ps(_mm512_mul_ps(sum, unit), _mm512_loadu_ps(t.scale + at), y[v]);
    }
  }
  const __m512 lo = _mm512_set1_ps(t.lo), hi = _mm512_set1_ps(t.hi);
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const int64_t at = column + 16 * v, rest = t.n - at;
    if (rest <= 0) break;
    const __mmask16 mask = static_cast<__mmask16>(rest >= 16 ? 0xffff : (1 << rest) - 1);
    _mm512_mask_storeu_ps(t.y + at, mask, _mm512_min_ps(_mm512_max_ps(y[v], lo), hi));
  }
}

template <int D>
inline void AllColumns(const GemvS4Tile& t) {
  int64_t column = 0;
  for (; column + 64 <= t.width; column += 64) Columns<4, D>(t, column);
  for (; column < t.n; column += 16) Columns<1, D>(t, column);
}

}  // namespace

void gemv_s4_avx512vnni(const GemvS4Tile& t) {
  return t.digits == kDigits ? AllColumns<kDigits>(t) : AllColumns<kMostDigits>(t);
}

}  // namespace bitlite
