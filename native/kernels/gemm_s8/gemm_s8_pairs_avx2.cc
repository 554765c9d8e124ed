// Without VNNI, for weights of which no two neighbours of one sign add up to more than 128: then
// vpmaddubsw, which adds two products in 16 bits, does not saturate whatever the activations are
// (255 * 128 = 32640). Three instructions for what takes four with vpmaddwd alone.
#include <immintrin.h>

#include <utility>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"

namespace bitlite {
namespace {

constexpr bool kPairs = true;
constexpr int kMaxMr[] = {0, 10, 5};

inline __m256i Dot(__m256i sum, __m256i a, __m256i w) {
  const __m256i pairs = _mm256_maddubs_epi16(a, w);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

}  // namespace
}  // namespace bitlite

#include "gemm_s8_u8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_pairs_avx2() {
  static constexpr GemmS8Kernel kKernel = {
      kLanes, 2,       4,       LhsPacking::kU8, kMaxMr, Column,  GetTile, Load,
      75,     nullptr, nullptr, nullptr,         128,    nullptr, 0,       true};
  return kKernel;
}

}  // namespace bitlite
