// Two taps of 16 channels interleaved as int16 pairs for vpmaddwd.
#include <immintrin.h>

#include "../depthwise_s8.h"
#include "fixed_s8_ymm.inc"

namespace bitlite {
namespace {

constexpr int kBlock = 16;

// unpacklo gives channels 0..3 and 8..11, unpackhi the others.
int Column(int i) { return i < 8 ? i / 4 * 8 + i % 4 : (i - 8) / 4 * 8 + 4 + i % 4; }

inline __m256i Scale(__m256i acc, const float* multiplier) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(multiplier)));
}

void Row(const DepthwiseS8Row& t) {
  const int16_t* weights = static_cast<const int16_t*>(t.w);
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(t.zero_point));
  const __m128i qmin = _mm_set1_epi8(static_cast<int8_t>(t.qmin));
  const __m128i qmax = _mm_set1_epi8(static_cast<int8_t>(t.qmax));
  const uint8_t* x = t.x;
  for (int64_t o = 0; o < t.outputs; ++o, x += t.x_step) {
    __m256i acc0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias));
    __m256i acc1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.bias + 8));
    const int16_t* w = weights;
    for (int g = 0; g < t.groups; ++g, w += 32) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + t.taps[2 * g]));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + t.taps[2 * g + 1]));
      const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
      const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 16));
      acc0 = _mm256_add_epi32(acc0, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), w0));
      acc1 = _mm256_add_epi32(acc1, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), w1));
    }
    if (t.acc != nullptr) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.acc + o * kBlock), acc0);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.acc + o * kBlock + 8), acc1);
      continue;
    }
    const bool fixed = t.fixed.mantissa != nullptr;
    const __m256i q0 = fixed ? Rescale(acc0, t.fixed, 0) : Scale(acc0, t.multiplier);
    const __m256i q1 = fixed ? Rescale(acc1, t.fixed, 8) : Scale(acc1, t.multiplier + 8);
    const __m256i s = _mm256_adds_epi16(_mm256_packs_epi32(q0, q1), zero_point);
    const __m256i y = _mm256_permute4x64_epi64(_mm256_packs_epi16(s, s), 0x08);
    const __m128i r = _mm_min_epi8(_mm_max_epi8(_mm256_castsi256_si128(y), qmin), qmax);
    int8_t* out = t.y[0] + o * t.y_step;
    if (t.n == kBlock) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), r);
    } else {
      alignas(16) int8_t part[kBlock];
      _mm_store_si128(reinterpret_cast<__m128i*>(part), r);
      for (int c = 0; c < t.n; ++c) out[c] = part[c];
    }
  }
}

void Load(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  int16_t* d = reinterpret_cast<int16_t*>(dst);
  for (int64_t i = 0; i < pixels; ++i, d += kBlock, src += src_step) {
    if (n == kBlock) {
      const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(d), _mm256_cvtepi8_epi16(x));
    } else {
      for (int c = 0; c < kBlock; ++c) d[c] = c < n ? src[c] : 0;
    }
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_avx2() {
  static constexpr DepthwiseS8Kernel kKernel = {kBlock, 2,   ActForm::kS16, true, false,  1,
                                                Column, Row, nullptr,       Load, nullptr};
  return kKernel;
}

}  // namespace bitlite
