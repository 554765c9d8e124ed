#include <immintrin.h>

#include "channels_s16.h"

namespace bitlite {

// Channels of two taps are interleaved, so that vpmaddwd adds the products of both.
void depthwise_s16_avx2(const DepthwiseS16Row& t) {
  const __m256 low = _mm256_set1_ps(t.low), high = _mm256_set1_ps(t.high);
  const auto load = [](const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  };
  // Interleaving goes by halves of 128 bits: channels 0-3 and 8-11, 4-7 and 12-15.
  const auto halves = [](const void* p, int first) {
    const __m128i* from = static_cast<const __m128i*>(p);
    return _mm256_loadu2_m128i(from + first + 2, from + first);
  };
  int64_t c = 0;
  for (; c + kChannelsS16 <= t.channels; c += kChannelsS16) {
    __m256i a = halves(t.bias + c, 0), b = halves(t.bias + c, 1);
    const int16_t* w = t.w + c * t.pairs * 2;
    for (int32_t p = 0; p < t.pairs; ++p, w += 2 * kChannelsS16) {
      const __m256i x = load(t.taps[2 * p] + c), y = load(t.taps[2 * p + 1] + c);
      a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_unpacklo_epi16(x, y), halves(w, 0)));
      b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_unpackhi_epi16(x, y), halves(w, 1)));
    }
    const auto codes = [&](__m256i sum, int first) {
      const float* m = t.multiplier + c + 4 * first;
      __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu2_m128(m + 8, m));
      v = _mm256_min_ps(_mm256_max_ps(v, low), high);
      return _mm256_cvtps_epi32(v);
    };
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.y + c),
                        _mm256_packs_epi32(codes(a, 0), codes(b, 1)));
  }
  ChannelsS16(t, c, t.channels);
}

}  // namespace bitlite
