// The code of gemm_s8_avxvnni.cc in EVEX encoding, so that CPUs with AVX-512 VNNI can test it.
#include <immintrin.h>

#include "gemm_s8.h"
#include "gemm_s8_ymm.inc"
#define BITLITE_DPBUSD _mm256_dpbusd_epi32
#include "gemm_s8_vnni256.inc"

namespace bitlite {

const GemmS8Kernel& gemm_s8_evex256() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 2,      4,       LhsPacking::kU8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
