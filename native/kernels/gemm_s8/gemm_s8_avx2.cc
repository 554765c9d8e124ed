// Without VNNI: activations and weights widened to int16, vpmaddwd adds the products of two
// activations exactly (vpmaddubsw would saturate).
#include <immintrin.h>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"
#include "kernels/winograd_s8/winograd_s8.h"
#include "kernels/winograd_s8/winograd_s8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_pairs_avx2();

namespace {

void Load(void* dst, const int8_t* src, int64_t n) {
  int16_t* d = static_cast<int16_t*>(dst);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(d + i), _mm256_cvtepi8_epi16(x));
  }
  for (; i < n; ++i) d[i] = src[i];
}

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  __m256i acc[MR][NV];
  LoadBias<NV, MR>(t, acc);
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    int64_t o = t.segments[s];
    for (int k = t.segment_steps; k > 0; --k, o += 4, w += 16 * NV) {
      __m256i b[NV];
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) {
        b[v] = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * v)));
      }
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        const __m256i a = Broadcast(t.rows[r] + o);
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
          acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(a, b[v]));
        }
      }
    }
  }
  Store<NV, MR>(t, acc);
}

constexpr int kMaxMr[] = {0, 8, 5};
constexpr GemmS8TileFn kTiles[3][9] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>, Tile<1, 5>, Tile<1, 6>, Tile<1, 7>,
     Tile<1, 8>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>, Tile<2, 5>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_avx2() {
  static constexpr GemmS8Kernel kKernel = {
      kLanes,     2,       2, LhsPacking::kS16,  kMaxMr, Column, GetTile, Load, 60,
      &kWinograd, nullptr, 0, gemm_s8_pairs_avx2};
  return kKernel;
}

}  // namespace bitlite
