// float32 kernels for any CPU.
#include "simd/depthwise_f32.h"
#include "simd/gemm_f32.h"
#include "simd/unary_f32.h"
#include "simd/vec_scalar.h"

namespace bitlite {

void gemm_f32_scalar(const GemmF32Tile& t) { GemmTile<2, 8>(t); }
void depthwise_f32_scalar(const DepthwiseF32Row& t) { DepthwiseKernel(t); }
void unary_f32_scalar(const UnaryF32Args& t) { UnaryKernel(t); }

}  // namespace bitlite
