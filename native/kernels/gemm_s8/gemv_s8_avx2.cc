// A row times weights without VNNI. vpmaddubsw adds two products of 8 bits in 16 and would
// saturate: with an activation cut into nibbles neither the pair nor the sum of several steps can,
// whatever the weights. How many steps these particular weights allow is found when they are
// packed.
#include <immintrin.h>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_pairs_avx2();

namespace {

constexpr int kStep = 4;
constexpr int kMaxNv = 4;
// Pairs of at most 2 * 15 * 128 that fit into 16 bits.
constexpr int kStepsIn16Bits = 8;
// Weights are read once, from the second level of cache or beyond: so many bytes ahead.
constexpr int kAhead = 512;

void Load(void* dst, const int8_t* src, int64_t n) {
  uint8_t* d = static_cast<uint8_t*>(dst);
  const __m128i flip = _mm_set1_epi8(-128), nibble = _mm_set1_epi8(15);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16, d += 32) {
    const __m128i x =
        _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i)), flip);
    const __m128i low = _mm_and_si128(x, nibble);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(x, 4), nibble);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(d), _mm_unpacklo_epi32(low, high));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(d + 16), _mm_unpackhi_epi32(low, high));
  }
  for (; i < n; i += kStep, d += 2 * kStep) {
    for (int k = 0; k < kStep; ++k) {
      const int x = i + k < n ? src[i + k] + 128 : 0;
      d[k] = static_cast<uint8_t>(x & 15);
      d[kStep + k] = static_cast<uint8_t>(x >> 4);
    }
  }
}

// Whether sums of `window` steps from the first on fit into 16 bits, whatever the nibbles: the
// greatest is 15 times the positive weights, the least 15 times the negative ones.
bool Fit(const int8_t* w, int64_t steps, int nv, int64_t window) {
  constexpr int kLimit = 32767 / 15;
  const int sums = 16 * nv;
  for (int64_t first = 0; first < steps; first += window) {
    int32_t positive[16 * kMaxNv] = {}, negative[16 * kMaxNv] = {};
    const int64_t end = first + window < steps ? first + window : steps;
    for (const int8_t* at = w + first * 2 * sums; at < w + end * 2 * sums; at += 2 * sums) {
      for (int i = 0; i < 2 * sums; ++i) {
        positive[i / 2] += at[i] > 0 ? at[i] : 0;
        negative[i / 2] -= at[i] < 0 ? at[i] : 0;
      }
    }
    for (int i = 0; i < sums; ++i) {
      if (positive[i] > kLimit || negative[i] > kLimit) return false;
    }
  }
  return true;
}

int NarrowSteps(const int8_t* w, int64_t steps, int nv) {
  int window = kStepsIn16Bits;
  while (window < steps && Fit(w, steps, nv, 2 * window)) window *= 2;
  return window;
}

// acc += the products of `steps` steps whose sums fit into 16 bits.
template <int NV>
inline void AddSteps(const uint8_t* x, const int8_t* w, int steps, __m256i (&acc)[NV]) {
  __m256i low[NV], high[NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) low[v] = high[v] = _mm256_setzero_si256();
  for (; steps > 0; --steps, x += 2 * kStep, w += 32 * NV) {
    const __m256i x_low = Broadcast(x), x_high = Broadcast(x + kStep);
#pragma GCC unroll 2
    for (int v = 0; v < NV; v += 2) {
      _mm_prefetch(reinterpret_cast<const char*>(w + 32 * v + kAhead), _MM_HINT_T0);
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const __m256i b = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32 * v));
      low[v] = _mm256_add_epi16(low[v], _mm256_maddubs_epi16(x_low, b));
      high[v] = _mm256_add_epi16(high[v], _mm256_maddubs_epi16(x_high, b));
      // Each sum stays in its register, in this order: gcc would add the products of several steps
      // first, and run out of registers.
      asm("" : "+x"(low[v]), "+x"(high[v]));
    }
  }
  const __m256i one = _mm256_set1_epi16(1), sixteen = _mm256_set1_epi16(16);
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const __m256i sum =
        _mm256_add_epi32(_mm256_madd_epi16(low[v], one), _mm256_madd_epi16(high[v], sixteen));
    acc[v] = _mm256_add_epi32(acc[v], sum);
  }
}

template <typename T>
const T* From(const T* values, int column) {
  return values == nullptr ? nullptr : values + column;
}

// The outputs of the vectors [V, NV), two at a time. A call, so that the loop above has the
// registers to itself.
template <int NV, int V = 0>
[[gnu::noinline]] void StorePairs(const GemmS8Tile& t, const __m256i (&acc)[1][NV]) {
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
    part.residual = From(t.residual, kColumn);
    part.gemmlowp = {From(t.gemmlowp.left, kColumn), From(t.gemmlowp.mantissa, kColumn),
                     From(t.gemmlowp.half, kColumn), From(t.gemmlowp.right, kColumn),
                     From(t.gemmlowp.edge, kColumn)};
    __m256i pair[1][kPair];
    for (int v = 0; v < kPair; ++v) pair[0][v] = acc[0][V + v];
    Store<kPair, 1>(part, pair);
    StorePairs<NV, V + kPair>(t, acc);
  }
}

template <int NV>
void Tile(const GemmS8Tile& t) {
  __m256i acc[1][NV];
  LoadBias<NV, 1>(t, acc);
  const int8_t* w = t.w;
  const int narrow = t.narrow_steps > 0 ? t.narrow_steps : kStepsIn16Bits;
  for (int s = 0; s < t.segment_count; ++s) {
    const uint8_t* x = t.rows[0] + t.segments[s];
    for (int left = t.segment_steps; left > 0; left -= narrow) {
      const int steps = left < narrow ? left : narrow;
      AddSteps<NV>(x, w, steps, acc[0]);
      x += steps * 2 * kStep;
      w += steps * 32 * NV;
    }
  }
  if (t.out == GemmS8Out::kF32 && t.n == NV * kLanes) return StoreFloats<NV, 1>(t, acc);
  StorePairs<NV>(t, acc);
}

constexpr int kMaxMr[kMaxNv + 1] = {0, 1, 1, 1, 1};
constexpr GemmS8TileFn kTiles[kMaxNv + 1] = {nullptr, Tile<1>, Tile<2>, Tile<3>, Tile<4>};

GemmS8TileFn GetTile(int nv, int) { return kTiles[nv]; }

}  // namespace

const GemmS8Kernel& gemv_s8_avx2() {
  static constexpr GemmS8Kernel kKernel = {
      kLanes,  kMaxNv,      kStep, LhsPacking::kNibbles, kMaxMr, Column, GetTile, Load, 350,
      nullptr, NarrowSteps, 0,     gemm_s8_pairs_avx2};
  return kKernel;
}

}  // namespace bitlite
