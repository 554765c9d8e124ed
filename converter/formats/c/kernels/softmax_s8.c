/* softmax on int8: integer sums of powers from a table, then one multiplier a row. */
#include "bitlite_round.h"

void bitlite_softmax_s8(const bitlite_softmax_s8_args *args, const int8_t *x, int8_t *y) {
  const int32_t step = args->inner;
  int32_t outer, inner, i;
  for (outer = 0; outer < args->outer; ++outer, x += args->n * step, y += args->n * step) {
    for (inner = 0; inner < step; ++inner) {
      int32_t top = -128;
      int64_t sum = 0;
      float scale;
      for (i = 0; i < args->n; ++i) {
        if (x[i * step + inner] > top) top = x[i * step + inner];
      }
      for (i = 0; i < args->n; ++i) sum += args->power[top - x[i * step + inner]];
      scale = (float)(1.0 / ((double)sum * args->y_scale));
      for (i = 0; i < args->n; ++i) {
        const int32_t power = args->power[top - x[i * step + inner]];
        y[i * step + inner] = (int8_t)bitlite_round(bitlite_scaled(power, scale), &args->out);
      }
    }
  }
}
