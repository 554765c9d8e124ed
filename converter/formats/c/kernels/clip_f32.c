/* x clamped to low..high. */
#include "bitlite_kernels.h"

void bitlite_clip_f32(const bitlite_clip_f32_args *args, const float *x, float *y) {
  int32_t i;
  for (i = 0; i < args->count; ++i) {
    const float v = x[i] < args->low ? args->low : x[i];
    y[i] = v > args->high ? args->high : v;
  }
}
