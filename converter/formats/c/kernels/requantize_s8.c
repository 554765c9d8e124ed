/* Codes to codes of other parameters, rows of a larger tensor at a time; either side may be uint8. */
#include "bitlite_round.h"

void bitlite_requantize_s8(const bitlite_requantize_s8_args *args, const void *x, void *y) {
  const uint8_t *from = (const uint8_t *)x;
  uint8_t *to = (uint8_t *)y;
  int32_t row, i;
  for (row = 0; row < args->rows; ++row, from += args->x_row, to += args->y_row) {
    for (i = 0; i < args->run; ++i) {
      /* The bits of uint8 code c with the highest one turned are int8 code c - 128. */
      const int32_t code = (int32_t)((from[i] ^ args->x_flip) ^ 128) - 128;
      int32_t v = code;
      if (!args->same) {
        v = bitlite_round(bitlite_scaled(code - args->x_zero, args->scale), &args->out);
      } else if (v < args->out.qmin) {
        v = args->out.qmin;
      } else if (v > args->out.qmax) {
        v = args->out.qmax;
      }
      to[i] = (uint8_t)((uint32_t)v ^ (uint32_t)args->y_flip);
    }
  }
}
