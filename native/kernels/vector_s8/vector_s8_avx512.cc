#include <immintrin.h>

#include "vector_s8.h"
#include "vector_s8.inc"

namespace bitlite {

const VectorS8Kernel& vector_s8_avx2();

namespace {

// 32 codes at a time: a word of the table holds the values of two neighbouring codes.
void Lookup512(const int8_t* x, int8_t* y, int64_t n, const int8_t* table) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  const __m512i flip = _mm512_set1_epi16(128), odd = _mm512_set1_epi16(1);
  for (int64_t i = 0; i < n; i += 32) {
    const __mmask32 mask = n - i >= 32 ? ~uint32_t{0} : (uint32_t{1} << (n - i)) - 1;
    const __m512i code =
        _mm512_xor_si512(_mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, x + i)), flip);
    const __m512i pair =
        _mm512_srli_epi16(code, 1);  // 0..127: bits 0..5 in a register pair, 6 which
    const __m512i low = _mm512_permutex2var_epi16(t0, pair, t1);
    const __m512i high = _mm512_permutex2var_epi16(t2, pair, t3);
    const __mmask32 upper = _mm512_test_epi16_mask(pair, _mm512_set1_epi16(64));
    const __m512i both = _mm512_mask_blend_epi16(upper, low, high);
    const __m512i shift = _mm512_slli_epi16(_mm512_and_si512(code, odd), 3);
    const __m256i value = _mm512_cvtepi16_epi8(_mm512_srlv_epi16(both, shift));
    _mm256_mask_storeu_epi8(y + i, mask, value);
  }
}

// 32 codes at a time: halves of words for 16 bits each of the table's values.
void SoftmaxRow512(const int8_t* x, int64_t n, const SoftmaxS8Table& table, float* quotients) {
  const __m512i top = _mm512_set1_epi16(vector_s8_avx2().largest(x, n));
  __m512i low[8], high[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    low[k] = _mm512_loadu_si512(table.low + 32 * k);
    high[k] = _mm512_loadu_si512(table.high + 32 * k);
  }
  // The index's bits 0 to 5 choose in a pair of vectors, bits 6 and 7 among the pairs.
  const auto find = [](const __m512i* of, __m512i at, __mmask32 bit6, __mmask32 bit7) {
    const __m512i a = _mm512_permutex2var_epi16(of[0], at, of[1]);
    const __m512i b = _mm512_permutex2var_epi16(of[2], at, of[3]);
    const __m512i c = _mm512_permutex2var_epi16(of[4], at, of[5]);
    const __m512i d = _mm512_permutex2var_epi16(of[6], at, of[7]);
    return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, a, b),
                                   _mm512_mask_blend_epi16(bit6, c, d));
  };
  const auto wide = [](__m256i low_half, __m256i high_half) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low_half),
                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(high_half), 16));
  };
  __m512i sums = _mm512_setzero_si512();  // of 64 bits: pairs of values first, below 2^26
  const auto add = [&](__m512i v) {
    sums = _mm512_add_epi64(sums,
                            _mm512_add_epi64(_mm512_srli_epi64(v, 32),
                                             _mm512_and_si512(v, _mm512_set1_epi64(0xFFFFFFFF))));
  };
  for (int64_t i = 0; i < n; i += 32) {
    const __mmask32 mask = n - i >= 32 ? ~uint32_t{0} : (uint32_t{1} << (n - i)) - 1;
    const __m512i code = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, x + i));
    const __m512i at = _mm512_sub_epi16(top, code);
    const __mmask32 bit6 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(64));
    const __mmask32 bit7 = _mm512_test_epi16_mask(at, _mm512_set1_epi16(128));
    const __m512i l = _mm512_maskz_mov_epi16(mask, find(low, at, bit6, bit7));
    const __m512i h = _mm512_maskz_mov_epi16(mask, find(high, at, bit6, bit7));
    const __m512i first = wide(_mm512_castsi512_si256(l), _mm512_castsi512_si256(h));
    const __m512i second = wide(_mm512_extracti64x4_epi64(l, 1), _mm512_extracti64x4_epi64(h, 1));
    add(_mm512_add_epi32(first, second));
    _mm512_mask_storeu_ps(quotients + i, static_cast<__mmask16>(mask), _mm512_cvtepi32_ps(first));
    _mm512_mask_storeu_ps(quotients + i + 16, static_cast<__mmask16>(mask >> 16),
                          _mm512_cvtepi32_ps(second));
  }
  const double sum = static_cast<double>(_mm512_reduce_add_epi64(sums));
  const __m512 m = _mm512_set1_ps(static_cast<float>(1.0 / (sum * table.y_scale)));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm512_storeu_ps(quotients + i, _mm512_mul_ps(_mm512_loadu_ps(quotients + i), m));
  }
  const __mmask16 rest = static_cast<__mmask16>((1u << (n - i)) - 1);
  _mm512_mask_storeu_ps(quotients + i, rest,
                        _mm512_mul_ps(_mm512_maskz_loadu_ps(rest, quotients + i), m));
}

// What is written for AVX2 is ahead of loops that compilers vectorize, of longer vectors too; the
// loops remain of what they vectorize as well.
VectorS8Kernel Kernel() {
  VectorS8Kernel kernel = vector_s8_avx2();
  kernel.add_flagging_ties = kLoops.add_flagging_ties;
  kernel.mul_flagging_ties = kLoops.mul_flagging_ties;
  kernel.quantize_fused = kLoops.quantize_fused;
  kernel.dequantize = kLoops.dequantize;
  kernel.requantize_s32_gemmlowp = kLoops.requantize_s32_gemmlowp;
  kernel.maximum = kLoops.maximum;
  kernel.softmax_row = SoftmaxRow512;
  kernel.lookup = Lookup512;
  return kernel;
}

}  // namespace

const VectorS8Kernel& vector_s8_avx512() {
  static const VectorS8Kernel kernel = Kernel();
  return kernel;
}

}  // namespace bitlite
