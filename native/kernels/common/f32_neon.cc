// float32 kernels for NEON.
// The vector type first: the kernels are written over it.
// clang-format off
#include "vec_neon.h"

#include "family_simd.h"
// clang-format on
