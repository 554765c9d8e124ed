// float32 kernels for AVX-512.
#include "../simd/depthwise_f32.h"
#include "../simd/gemm_f32.h"
#include "../simd/unary_f32.h"
#include "../simd/vec_avx512.h"

namespace bitlite {

void gemm_f32_avx512(const GemmF32Tile& t) { GemmTile<8, 24>(t); }
void depthwise_f32_avx512(const DepthwiseF32Row& t) { DepthwiseKernel(t); }
void unary_f32_avx512(const UnaryF32Args& t) { UnaryKernel(t); }

}  // namespace bitlite
