// Rows lie in pairs, widened to int16, so that vpmaddwd takes two taps of a
// channel at once. Up to 4 outputs of 16 channels share the loads of their
// weights.
#include <immintrin.h>

#include <cstring>

#include "depthwise_s8.h"
#include "kernels/common/gemmlowp_s8_ymm.inc"

namespace bitlite {
namespace {

constexpr int kBlock = 16, kOutputs = 5;

int Column(int i) { return i; }

inline __m256i LoadAt(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// What a row's sums become: kCodes where the range is all of int8, which packing keeps.
enum class Out : uint8_t { kSums, kGemmlowp, kClamped, kCodes };

struct Bounds {
  __m256i zero_point, low, high;
};

// An output's 16 values, rounded, as int16: channels 0..3 and 8..11, then the
// others.
template <Out OUT>
inline __m256i Rounded(const DepthwiseS8Row& t, const __m256i (&acc)[2]) {
  if constexpr (OUT == Out::kGemmlowp) {
    return _mm256_packs_epi32(Rescale(acc[0], t.gemmlowp, 0), Rescale(acc[1], t.gemmlowp, 8));
  }
  __m256i q[2];
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    q[v] = _mm256_cvtps_epi32(
        _mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), _mm256_loadu_ps(t.multiplier + v * 8)));
  }
  return _mm256_packs_epi32(q[0], q[1]);
}

// Copies n codes, from kBytes to twice as many: the first kBytes and the last, which may overlap.
template <int kBytes>
inline void CopyEnds(int8_t* to, const int8_t* from, int n) {
  std::memcpy(to, from, kBytes);
  std::memcpy(to + n - kBytes, from + n - kBytes, kBytes);
}

inline void CopyCodes(int8_t* to, const int8_t* from, int n) {
  if (n >= 8) {
    CopyEnds<8>(to, from, n);
  } else if (n >= 4) {
    CopyEnds<4>(to, from, n);
  } else {
    for (int c = 0; c < n; ++c) to[c] = from[c];
  }
}

inline void StoreCodes(int8_t* y, __m128i codes, int n) {
  if (n == kBlock) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), codes);
  } else if (n == kBlock / 2) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), codes);
  } else {
    alignas(16) int8_t part[kBlock];
    _mm_store_si128(reinterpret_cast<__m128i*>(part), codes);
    CopyCodes(y, part, n);
  }
}

// Outputs [o, o + N). GROUPS: of the row, or 0 for any number.
template <Out OUT, int N, int GROUPS>
[[gnu::always_inline]] inline void Outputs(const DepthwiseS8Row& t, const Bounds& bounds,
                                           int64_t o) {
  __m256i acc[N][2];
#pragma GCC unroll 5
  for (int i = 0; i < N; ++i) {
    acc[i][0] = LoadAt(t.bias);
    acc[i][1] = LoadAt(t.bias + 8);
  }
  const int64_t x_step = t.x_step;
  const uint8_t* x = t.x + o * x_step;
  const int16_t* w = static_cast<const int16_t*>(t.w);
  const int groups = GROUPS > 0 ? GROUPS : t.groups;
#pragma GCC unroll 6
  for (int g = 0; g < groups; ++g, w += 32) {
    const uint8_t* p = x + t.taps[g];
    const __m256i w0 = LoadAt(w), w1 = LoadAt(w + 16);
#pragma GCC unroll 5
    for (int i = 0; i < N; ++i, p += x_step) {
      acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(LoadAt(p), w0));
      acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(LoadAt(p + 32), w1));
    }
    // Else GCC would add up all products of a sum as a tree, which takes more registers.
    if constexpr (GROUPS > 0) {
#pragma GCC unroll 5
      for (int i = 0; i < N; ++i) asm("" : "+x"(acc[i][0]), "+x"(acc[i][1]));
    }
  }
  if constexpr (OUT == Out::kSums) {
#pragma GCC unroll 5
    for (int i = 0; i < N; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.acc + (o + i) * kBlock), acc[i][0]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.acc + (o + i) * kBlock + 8), acc[i][1]);
    }
    return;
  }
  int8_t* y = t.y[0] + o * t.y_step;
  const int n = t.n;
  const int64_t step = t.y_step;
#pragma GCC unroll 3
  for (int i = 0; i < N; i += 2) {
    const __m256i first = _mm256_adds_epi16(Rounded<OUT>(t, acc[i]), bounds.zero_point);
    const __m256i second =
        i + 1 < N ? _mm256_adds_epi16(Rounded<OUT>(t, acc[i + 1]), bounds.zero_point) : first;
    __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second),
                                                _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    if constexpr (OUT != Out::kCodes) {
      codes = _mm256_min_epi8(_mm256_max_epi8(codes, bounds.low), bounds.high);
    }
    StoreCodes(y + i * step, _mm256_castsi256_si128(codes), n);
    if (i + 1 < N) StoreCodes(y + (i + 1) * step, _mm256_extracti128_si256(codes, 1), n);
  }
}

template <Out OUT, int GROUPS>
void RowOf(const DepthwiseS8Row& t) {
  const Bounds bounds = {_mm256_set1_epi16(static_cast<int16_t>(t.zero_point)),
                         _mm256_set1_epi8(static_cast<int8_t>(t.qmin)),
                         _mm256_set1_epi8(static_cast<int8_t>(t.qmax))};
  int64_t o = 0;
  for (; o + kOutputs <= t.outputs; o += kOutputs) Outputs<OUT, kOutputs, GROUPS>(t, bounds, o);
  switch (t.outputs - o) {
    case 4:
      return Outputs<OUT, 4, GROUPS>(t, bounds, o);
    case 3:
      return Outputs<OUT, 3, GROUPS>(t, bounds, o);
    case 2:
      return Outputs<OUT, 2, GROUPS>(t, bounds, o);
    case 1:
      return Outputs<OUT, 1, GROUPS>(t, bounds, o);
  }
}

template <Out OUT>
void RowOf(const DepthwiseS8Row& t) {
  // Kernels of 3x3 see three columns of two lines.
  t.groups == 6 ? RowOf<OUT, 6>(t) : RowOf<OUT, 0>(t);
}

void Row(const DepthwiseS8Row& t) {
  if (t.acc != nullptr) return RowOf<Out::kSums>(t);
  if (t.gemmlowp.mantissa != nullptr) return RowOf<Out::kGemmlowp>(t);
  if (t.qmin > -128 || t.qmax < 127) return RowOf<Out::kClamped>(t);
  RowOf<Out::kCodes>(t);
}

inline __m128i Codes(const int8_t* src, int n, __m128i outside) {
  if (src == nullptr) return outside;
  const __m128i* from = reinterpret_cast<const __m128i*>(src);
  if (n == kBlock) return _mm_loadu_si128(from);
  if (n == kBlock / 2) return _mm_loadl_epi64(from);
  alignas(16) int8_t part[kBlock] = {};
  CopyCodes(part, src, n);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(part));
}

inline void StorePair(uint8_t* dst, __m128i first, __m128i second, __m256i zero) {
  __m256i* to = reinterpret_cast<__m256i*>(dst);
  const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
  const __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
  _mm256_storeu_si256(to, _mm256_sub_epi16(low, zero));
  _mm256_storeu_si256(to + 1, _mm256_sub_epi16(high, zero));
}

void LoadPair(uint8_t* dst, const int8_t* first, const int8_t* second, int64_t src_step,
              int64_t pixels, int n, int32_t zero_point) {
  const __m256i zero = _mm256_set1_epi16(static_cast<int16_t>(zero_point));
  if (first != nullptr && second != nullptr && n == kBlock) {
    // A block's channels of a pixel are a part of its line, or of two: fetched some pixels ahead.
    constexpr int kAhead = 16;
    const int64_t fetched = src_step * kAhead;
    for (int64_t i = 0; i < pixels; ++i, dst += 4 * kBlock, first += src_step, second += src_step) {
      _mm_prefetch(reinterpret_cast<const char*>(first + fetched), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(second + fetched), _MM_HINT_T0);
      StorePair(dst, _mm_loadu_si128(reinterpret_cast<const __m128i*>(first)),
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(second)), zero);
    }
    return;
  }
  const __m128i outside = _mm_set1_epi8(static_cast<int8_t>(zero_point));
  for (int64_t i = 0; i < pixels; ++i, dst += 4 * kBlock) {
    StorePair(dst, Codes(first, n, outside), Codes(second, n, outside), zero);
    if (first != nullptr) first += src_step;
    if (second != nullptr) second += src_step;
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_avx2() {
  static constexpr DepthwiseS8Kernel kKernel = {
      kBlock,  2,       LhsPacking::kS16, true, false,    1,   Column, Row,
      nullptr, nullptr, nullptr,          2,    LoadPair, 0.1, 0.04};
  return kKernel;
}

}  // namespace bitlite
