// float32 kernels for any CPU.
// The vector type first: the kernels are written over it.
// clang-format off
#include "vec_scalar.h"

#include "family_simd.h"
// clang-format on
