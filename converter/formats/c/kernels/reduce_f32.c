/* reduce on float32 along one run of axes: sums and means times a scale, or the extreme value. */
#include "bitlite_kernels.h"

void bitlite_reduce_f32(const bitlite_reduce_f32_args *args, const float *x, float *y) {
  int32_t outer, inner, i;
  for (outer = 0; outer < args->outer; ++outer, x += args->n * args->inner) {
    for (inner = 0; inner < args->inner; ++inner) {
      const float *p = x + inner;
      float v = *p;
      for (i = 1; i < args->n; ++i) {
        p += args->inner;
        if (args->mode == BITLITE_SUM) {
          v += *p;
        } else if (args->mode == BITLITE_LARGEST ? *p > v : *p < v) {
          v = *p;
        }
      }
      *y++ = args->mode == BITLITE_SUM ? v * args->scale : v;
    }
  }
}
