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
  kernel.lookup = Lookup512;
  return kernel;
}

}  // namespace

const VectorS8Kernel& vector_s8_avx512() {
  static const VectorS8Kernel kernel = Kernel();
  return kernel;
}

}  // namespace bitlite
