/* reduce on int8 along one run of axes: sums and means times a scale, or the extreme code. */
#include "bitlite_round.h"

static int32_t reduced(const bitlite_reduce_s8_args *args, const int8_t *x) {
  int32_t v = args->mode == BITLITE_SUM ? 0 : x[0], i;
  for (i = 0; i < args->n; ++i, x += args->inner) {
    if (args->mode == BITLITE_SUM) {
      v += *x - args->x_zero;
    } else if (args->mode == BITLITE_LARGEST ? *x > v : *x < v) {
      v = *x;
    }
  }
  if (args->mode == BITLITE_SUM) return bitlite_round(bitlite_scaled(v, args->scale), &args->out);
  if (!args->same) return bitlite_round(bitlite_scaled(v - args->x_zero, args->scale), &args->out);
  return v < args->out.qmin ? args->out.qmin : v > args->out.qmax ? args->out.qmax : v;
}

void bitlite_reduce_s8(const bitlite_reduce_s8_args *args, const int8_t *x, int8_t *y) {
  int32_t outer, inner;
  for (outer = 0; outer < args->outer; ++outer, x += args->n * args->inner) {
    for (inner = 0; inner < args->inner; ++inner) *y++ = (int8_t)reduced(args, x + inner);
  }
}
