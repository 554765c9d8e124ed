// 256-bit vpdpbusd in its VEX encoding, for CPUs with AVX-VNNI but without AVX-512.
#include <immintrin.h>

#include <utility>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"

namespace bitlite {
namespace {

constexpr bool kPairs = false;
constexpr int kMaxMr[] = {0, 10, 6};

inline __m256i Dot(__m256i sum, __m256i a, __m256i w) { return _mm256_dpbusd_avx_epi32(sum, a, w); }

}  // namespace
}  // namespace bitlite

#include "gemm_s8_u8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_avxvnni() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 2,      4,       LhsPacking::kU8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
