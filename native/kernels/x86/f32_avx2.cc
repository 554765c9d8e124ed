// float32 kernels for AVX2 + FMA.
#include "../simd/depthwise_f32.h"
#include "../simd/gemm_f32.h"
#include "../simd/unary_f32.h"
#include "../simd/vec_avx2.h"

namespace bitlite {

void gemm_f32_avx2(const GemmF32Tile& t) { GemmTile<6, 12>(t); }
void depthwise_f32_avx2(const DepthwiseF32Row& t) { DepthwiseKernel(t); }
void unary_f32_avx2(const UnaryF32Args& t) { UnaryKernel(t); }

}  // namespace bitlite
