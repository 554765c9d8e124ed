/* softmax on float32. */
#include <math.h>

#include "bitlite_kernels.h"

void bitlite_softmax_f32(const bitlite_softmax_f32_args *args, const float *x, float *y) {
  const int32_t step = args->inner;
  int32_t outer, inner, i;
  for (outer = 0; outer < args->outer; ++outer, x += args->n * step, y += args->n * step) {
    for (inner = 0; inner < step; ++inner) {
      float top = x[inner], sum = 0.0f;
      for (i = 1; i < args->n; ++i) {
        if (x[i * step + inner] > top) top = x[i * step + inner];
      }
      for (i = 0; i < args->n; ++i) {
        const float power = expf((x[i * step + inner] - top) * args->beta);
        y[i * step + inner] = power;
        sum += power;
      }
      for (i = 0; i < args->n; ++i) y[i * step + inner] /= sum;
    }
  }
}
