// The code of gemm_s8_avxvnni.cc in EVEX encoding, so that CPUs with AVX-512 VNNI can test it.
#include <immintrin.h>

#include <utility>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"

namespace bitlite {
namespace {

constexpr bool kPairs = false;
constexpr int kMaxMr[] = {0, 10, 6};

inline __m256i Dot(__m256i sum, __m256i a, __m256i w) { return _mm256_dpbusd_epi32(sum, a, w); }

}  // namespace
}  // namespace bitlite

#include "gemm_s8_u8_ymm.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_evex256() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 2,      4,       LhsPacking::kU8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
