// 16 codes at a time, which compilers make more of than it takes: what is clamped is rounded by the
// conversion, half to even, too.
#include <immintrin.h>

#include "vector_s16.inc"

namespace bitlite {
namespace {

constexpr int64_t kBlock = 16;

// 8 codes as floats.
__m256 Floats(const int16_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(codes));
}

struct Rounder256 {
  explicit Rounder256(ClampS16 clamp)
      : low(_mm256_set1_ps(clamp.low)), high(_mm256_set1_ps(clamp.high)) {}
  __m256i Whole(__m256 v) const {
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(v, low), high));  // NaN is low
  }
  void Store(int16_t* y, __m256 first, __m256 second) const {
    const __m256i codes = _mm256_packs_epi32(Whole(first), Whole(second));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm256_permute4x64_epi64(codes, 0xd8));
  }
  __m256 low, high;
};

void Add256(const BinaryS16Args& t) {
  const Rounder256 round(t.clamp);
  const __m256 a_scale = _mm256_set1_ps(t.a_scale), b_scale = _mm256_set1_ps(t.b_scale);
  int64_t i = 0;
  if (t.a_step == 1 && t.b_step == 1) {
    const auto sum = [&](int64_t at) {
      return _mm256_add_ps(_mm256_mul_ps(Floats(t.a + at), a_scale),
                           _mm256_mul_ps(Floats(t.b + at), b_scale));
    };
    for (; i + kBlock <= t.n; i += kBlock) round.Store(t.y + i, sum(i), sum(i + 8));
  }
  BinaryS16Args rest = t;
  rest.a += t.a_step * i;
  rest.b += t.b_step * i;
  rest.y += i;
  rest.n -= i;
  Add(rest);
}

void Quantize256(const float* x, int16_t* y, int64_t n, float inverse, ClampS16 clamp) {
  const Rounder256 round(clamp);
  const __m256 m = _mm256_set1_ps(inverse);
  const auto scaled = [&](const float* p) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(p), m);
    return _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));  // NaN is 0
  };
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) round.Store(y + i, scaled(x + i), scaled(x + i + 8));
  Quantize(x + i, y + i, n - i, inverse, clamp);
}

void Requantize256(const int16_t* x, int16_t* y, int64_t n, float m, ClampS16 clamp) {
  const Rounder256 round(clamp);
  const __m256 factor = _mm256_set1_ps(m);
  const auto scaled = [&](const int16_t* p) { return _mm256_mul_ps(Floats(p), factor); };
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) round.Store(y + i, scaled(x + i), scaled(x + i + 8));
  Requantize(x + i, y + i, n - i, m, clamp);
}

constexpr VectorS16Kernel Kernel() {
  VectorS16Kernel kernel = kKernel;
  kernel.add = Add256;
  kernel.quantize = Quantize256;
  kernel.requantize = Requantize256;
  return kernel;
}

constexpr VectorS16Kernel kOfVectors = Kernel();

}  // namespace

const VectorS16Kernel& vector_s16_avx2() { return kOfVectors; }

}  // namespace bitlite
