// float32 kernels for AVX-512.
// The vector type first: the kernels are written over it.
// clang-format off
#include "vec_avx512.h"

#include "family_simd.h"
// clang-format on
