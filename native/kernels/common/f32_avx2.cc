// float32 kernels for AVX2 + FMA.
// The vector type first: the kernels are written over it.
// clang-format off
#include "vec_avx2.h"

#include "family_simd.h"
// clang-format on
