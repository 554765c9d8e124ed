// 256-bit vpdpbusd in its VEX encoding, for CPUs with AVX-VNNI but without AVX-512.
#include <immintrin.h>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"
#define BITLITE_DPBUSD _mm256_dpbusd_avx_epi32
#include "gemm_s8_vnni256.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_avxvnni() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 2,      4,       LhsPacking::kU8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
