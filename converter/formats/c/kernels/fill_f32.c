/* Fills with one float32 value. */
#include "bitlite_kernels.h"

void bitlite_fill_f32(const bitlite_fill_f32_args *args, float *y) {
  int32_t i;
  for (i = 0; i < args->count; ++i) y[i] = args->value;
}
