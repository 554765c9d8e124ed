// float32 kernels for AVX-512.
// The vector type first: the kernels are written over it.
// clang-format off
#include "vec_avx512.h"

#include "kernels/binary_f32/binary_f32_simd.h"
#include "kernels/depthwise_f32/depthwise_f32_simd.h"
#include "kernels/gemm_f32/gemm_f32_simd.h"
#include "kernels/packed_f32/packed_f32_simd.h"
#include "kernels/reduce_f32/reduce_f32_simd.h"
#include "kernels/rnn/rnn_f32_simd.h"
#include "kernels/softmax_f32/softmax_f32_simd.h"
#include "kernels/unary_f32/unary_f32_simd.h"
#include "kernels/winograd_f32/winograd_f32_simd.h"
// clang-format on

namespace bitlite {

void gemm_f32_avx512(const GemmF32Tile& t) { GemmTile<14, 30>(t); }
void packed_f32_avx512(const PackedF32Tile& t) { PackedTile<4>(t); }
void depthwise_f32_avx512(const DepthwiseF32Row& t) { DepthwiseKernel(t); }
void winograd_in_f32_avx512(const WinogradInF32& t) { WinogradInKernel(t); }
void winograd_out_f32_avx512(const WinogradOutF32& t) { WinogradOutKernel(t); }
void unary_f32_avx512(const UnaryF32Args& t) { UnaryKernel(t); }
void binary_f32_avx512(const BinaryF32Args& t) { BinaryKernel(t); }
void reduce_rows_f32_avx512(const ReduceRowsF32Args& t) { ReduceRowsKernel(t); }
float reduce_run_f32_avx512(const ReduceRunF32Args& t) { return ReduceRunKernel(t); }
void rnn_f32_avx512(const RnnF32Args& t) { RnnKernel(t); }
void rnn_scale_avx512(const RnnScaleArgs& t) { RnnScale(t); }
void rnn_columns_avx512(const RnnColumnsArgs& t) { RnnColumns(t); }
void softmax_f32_avx512(const SoftmaxF32Args& t) { SoftmaxKernel(t); }
void norm_f32_avx512(const NormF32Args& t) { NormKernel(t); }

}  // namespace bitlite
